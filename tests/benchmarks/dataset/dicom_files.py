"""Counts which of the test files that pydicom brings are accepted as images, and why the others are not.

    python tests/benchmarks/dataset/dicom_files.py

They cover most codings of DICOM: compressed ones (JPEG, JPEG-LS, JPEG 2000, RLE), 8 to 32 bits, palettes, several
frames, files without a preamble, damaged files, and files that hold no picture. The first frame is taken of several.
The table is written to `tests/benchmarks/results/dicom_files.json`.
"""

from __future__ import annotations

import argparse
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from hub_datasets.images.validation import ExaminedImage, ImageSettings, examine_image
from hub_datasets.ingest.ingest import DECODERS, installed_version
from model_cards.results import write_json

RESULT = Path(__file__).parents[1] / "results" / "dicom_files.json"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    arguments = parser.parse_args(argv)
    result = measure()
    print(f"{result['accepted']} of {result['files']} accepted")
    for name, why in result["refused"].items():
        print(f"  {name} {why}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output, result)
    return 0


def measure() -> dict[str, Any]:
    """Returns the numbers, and why each file that is not accepted is not."""
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    refused, files = {}, sorted(folder.glob("*.dcm"))
    for file in files:
        found = examine_image(file.read_bytes(), file.name, ImageSettings(frames="first"))
        if not isinstance(found, ExaminedImage):
            refused[file.name] = found.message.removeprefix(f"{file.name!r} ")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"python": platform.python_version()}
        | {name: version for name in DECODERS if (version := installed_version(name))},
        "files": len(files),
        "accepted": len(files) - len(refused),
        "refused": refused,
    }


if __name__ == "__main__":
    sys.exit(main())
