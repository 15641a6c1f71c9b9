"""Draws a synthetic sample of all four sources, in the layouts and with the irregularities of the real ones.

    medpairs sample --output_dir data/sample

The command writes the folders `knee/`, `pad_ufes/`, `slake/` and `reports/`, which `medpairs build` reads like the real
sources. The images show what their texts state, so that a small model can learn to match them. The same seed gives the
same bytes.

A few rows are broken on purpose. `planted_faults.json` lists each of them as {"source", "key", "code"}: the key occurs
in the `item` of the build's `rejections.jsonl`, and the code is the reason that the build must give. Further copies of
a knee image are not listed, although a build rejects them as `duplicate_image`. `planted_oddities.json` lists rows that
a build accepts and has to treat specially as {"source", "key", "kind"}: near-duplicate images, images that are rotated,
have 16 bits or contain a GPS position, and reports with a telephone number.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

if __package__ in (None, ""):  # as a script, import the project from its root instead of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.storage import hidden_beside
from hub_datasets.synthetic.marker import write_marker
from model_cards.commands.console import Parser, command, local_folder

FOLDERS = {"knee_xray": "knee", "pad_ufes_20": "pad_ufes", "slake": "slake", "medical_reports": "reports"}
README = """# Synthetic sample

These images and texts are synthetic. They were drawn by `medpairs sample --seed {seed} --scale {scale}` for trials and
tests; they contain no data of patients or of public datasets. They follow the file layouts of four sources:

| folder | layout of | content |
| --- | --- | --- |
{table}

The drawings are not anatomically correct. A model that is trained on them must not be used clinically.

Some rows are broken on purpose, because some rows of real datasets are broken. `planted_faults.json` lists them.
`planted_oddities.json` lists rows that are valid and need special treatment.
"""
LAYOUTS = {
    "knee_xray": "Mendeley Digital Knee X-ray Images",
    "pad_ufes_20": "PAD-UFES-20",
    "slake": "SLAKE",
    "medical_reports": "a folder of your own reports (JSONL and CSV, UTF-8 and GBK)",
}


@command
def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`."""
    parser = Parser(prog="medpairs sample", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output_dir", type=local_folder, required=True, metavar="DIR", help="new or empty folder for the sample"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample, at least 0 (default: %(default)s)")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="number of images as a multiple of about 620, above 0 and at most 100 (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    generate(options.output_dir, options.seed, options.scale, log=print)
    print(f"Wrote a synthetic sample to {options.output_dir}, for trials and tests only")
    return 0


def generate(
    output_dir: Path, seed: int = 0, scale: float = 1.0, log: Callable[[str], object] = lambda line: None
) -> dict[str, Path]:
    """Writes the sample and returns the folder of each source by its name.

    Args:
        output_dir: absent or empty. The sample is written to a temporary folder next to it first, so that `output_dir`
            never contains an incomplete sample.
        seed: at least 0. The same seed and scale give the same bytes.
        scale: above 0 and at most 100; 1.0 gives about 620 images with 25 MB. Each source has about 20 images at least.
        log: called with one line per source.

    Raises:
        BuildError: the folder is not empty or cannot be written, or a number is out of range.
    """
    if seed < 0 or not 0 < scale <= 100:
        raise BuildError(
            f"--seed is {seed} and --scale is {scale}. Use a seed of at least 0 and a scale above 0 and at most 100."
        )
    output_dir = Path(output_dir).resolve()
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise BuildError(f"--output_dir {output_dir} exists and is not an empty folder. Use a new or an empty folder.")
    work = hidden_beside(output_dir, "drawing")
    try:
        shutil.rmtree(work, ignore_errors=True)  # the remains of a run that was killed
        work.mkdir(parents=True)
        _write_sources(work, seed, scale, log)
        if output_dir.exists():
            output_dir.rmdir()
        work.rename(output_dir)
    except OSError as error:
        raise BuildError(f"--output_dir {output_dir} cannot be written: {error}. Use another folder.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {source: output_dir / folder for source, folder in FOLDERS.items()}


def _write_sources(root: Path, seed: int, scale: float, log: Callable[[str], object]) -> None:
    """Writes all sources with their markers, the lists of faults and oddities, and the README."""
    # Imported here, because drawing requires NumPy and Pillow, and `--help` has to be fast.
    from hub_datasets.synthetic.layouts import knee_xray, medical_reports, pad_ufes_20, slake

    writers = {"knee_xray": knee_xray, "pad_ufes_20": pad_ufes_20, "slake": slake, "medical_reports": medical_reports}
    faults, oddities, table = [], [], []
    for source, folder in FOLDERS.items():
        source_dir = root / folder
        source_dir.mkdir()
        written = writers[source].write(source_dir, seed, scale)
        write_marker(source_dir)
        faults += [{"source": source, "key": key, "code": str(code)} for key, code in written.faults]
        oddities += [{"source": source, "key": key, "kind": kind} for key, kind in written.oddities]
        table.append(f"| `{folder}/` | {LAYOUTS[source]} | {written.summary} |")
        log(f"{source}: {written.summary}, {len(written.faults)} rows broken on purpose")
    for name, entries in (("planted_faults", faults), ("planted_oddities", oddities)):
        (root / f"{name}.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    readme = README.format(seed=seed, scale=scale, table="\n".join(table))
    (root / "README.md").write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
