"""Draws a synthetic sample of all four sources, in their own layouts and with their quirks.

    python hub_datasets/sample_sources.py --output_dir data/sample

writes `knee/`, `pad_ufes/`, `slake/` and `reports/`, which `build.py` reads as it reads the real ones. The images show
what their texts say, so that a small model can learn to match them. The same seed gives the same bytes. A few rows are
broken on purpose; `planted_faults.json` lists each as {"source", "key", "code"}, where the key is found in the item
that a build's `rejections.jsonl` names and the code is the reason that it must give. The copies of a knee image beyond
the first are no faults and not in the list, though a build rejects them, too (`duplicate_image`).
`planted_oddities.json` lists as {"source", "key", "kind"} what a build accepts and must see to: images that are nearly
the same, turned, of 16 bits, with the place where they were taken, and reports with somebody's telephone number.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from hub_datasets.schema import BuildError
from hub_datasets.synthetic import write_mark
from model_cards.console import Parser

FOLDERS = {"knee_xray": "knee", "pad_ufes_20": "pad_ufes", "slake": "slake", "medical_reports": "reports"}
README = """# Synthetic sample

These images and texts are synthetic. They were drawn by `python hub_datasets/sample_sources.py --seed {seed} --scale
{scale}` to try the project out and to test it; no patient and no public data set is in them. They follow the file
layouts of four sources:

| folder | layout of | content |
| --- | --- | --- |
{table}

The drawings are no anatomy to learn from: nothing trained on them is fit for any clinical use.

Some rows are broken on purpose, as some rows of real collections are. `planted_faults.json` lists them;
`planted_oddities.json` lists those that are fit and need care.
"""
LAYOUTS = {
    "knee_xray": "Mendeley Digital Knee X-ray Images",
    "pad_ufes_20": "PAD-UFES-20",
    "slake": "SLAKE",
    "medical_reports": "a folder of one's own reports (JSONL and CSV, UTF-8 and GBK)",
}


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 where the folder cannot be written to or a flag is at fault."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws another sample (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of images (%(default)s)")
    options = parser.parse_args(argv)
    try:
        generate(options.output_dir, options.seed, options.scale, say=print)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Written to {options.output_dir}: synthetic images, for trying out and testing only")
    return 0


def generate(
    output_dir: Path, seed: int = 0, scale: float = 1.0, say: Callable[[str], object] = lambda line: None
) -> dict[str, Path]:
    """Write the sample and return each source's folder by the source's name.

    Args:
        output_dir: absent or empty. All is written beside it first, so that it never holds half a sample.
        seed: not negative. The same seed and scale give the same bytes.
        scale: 1.0 for about 620 images, 25 MB; never fewer than some 20 images a source.
        say: is called with one line for each source.

    Raises:
        BuildError: the folder holds something, cannot be written, or a number is out of range.
    """
    if seed < 0 or not 0 < scale <= 100:
        raise BuildError(f"--seed {seed} --scale {scale}: the seed is at least 0, the scale above 0 and at most 100")
    output_dir = Path(output_dir).resolve()
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise BuildError(f"--output_dir {output_dir} exists and is not an empty folder; name another one")
    work = output_dir.with_name(f".{output_dir.name}.drawing")
    try:
        shutil.rmtree(work, ignore_errors=True)  # what a run that was killed left behind
        work.mkdir(parents=True)
        _write(work, seed, scale, say)
        if output_dir.exists():
            output_dir.rmdir()
        work.rename(output_dir)
    except OSError as error:
        raise BuildError(f"--output_dir {output_dir} cannot be written: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {source: output_dir / folder for source, folder in FOLDERS.items()}


def _write(root: Path, seed: int, scale: float, say: Callable[[str], object]) -> None:
    """Write all sources, the list of faults, and what says that all this is synthetic."""
    # Imported here: the brushes need numpy and Pillow, `--help` does not.
    from hub_datasets.sample_layouts import knee_xray, medical_reports, pad_ufes_20, slake

    writers = {"knee_xray": knee_xray, "pad_ufes_20": pad_ufes_20, "slake": slake, "medical_reports": medical_reports}
    faults, oddities, table = [], [], []
    for source, folder in FOLDERS.items():
        place = root / folder
        place.mkdir()
        written = writers[source].write(place, seed, scale)
        write_mark(place)
        faults += [{"source": source, "key": key, "code": str(code)} for key, code in written.faults]
        oddities += [{"source": source, "key": key, "kind": kind} for key, kind in written.oddities]
        table.append(f"| `{folder}/` | {LAYOUTS[source]} | {written.summary} |")
        say(f"{source}: {written.summary}, {len(written.faults)} rows broken on purpose")
    for name, entries in (("planted_faults", faults), ("planted_oddities", oddities)):
        (root / f"{name}.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    readme = README.format(seed=seed, scale=scale, table="\n".join(table))
    (root / "README.md").write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
