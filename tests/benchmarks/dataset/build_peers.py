"""Runs the two baselines of the build on the same image files; their time includes the start of the process.

    python tests/benchmarks/dataset/build_peers.py decode FOLDER --num_proc 2
    python tests/benchmarks/dataset/build_peers.py imagefolder FOLDER --num_proc 2 --output OUT

`decode` only reads and decodes, which is the minimum for any program that inspects every image. `imagefolder` is a
build with `datasets` alone: load the folder, check each image and text, write Parquet.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

AT_ONCE = 32  # files per task of a process
ROWS = 100  # of a row group, as `datasets` writes images


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("decode", "imagefolder"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num_proc", type=int, default=1)
    parser.add_argument("--output", type=Path, help="folder for the Parquet file of `imagefolder`")
    options = parser.parse_args(argv)
    if options.what == "decode":
        print(decode(options.folder, options.num_proc))
    else:
        print(imagefolder(options.folder, options.num_proc, options.output))
    return 0


def decode(folder: Path, num_proc: int) -> int:
    """Reads and decodes every image below a folder; returns their number."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
    parts = [files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE)]
    if num_proc == 1:
        return sum(map(decode_some, parts))
    with get_context("spawn").Pool(num_proc) as pool:
        return sum(pool.imap_unordered(decode_some, parts))


def decode_some(files: list[Path]) -> int:
    for file in files:
        Image.open(io.BytesIO(file.read_bytes())).load()
    return len(files)


def imagefolder(folder: Path, num_proc: int, output: Path) -> int:
    """Loads a folder with `metadata.csv`, checks every row and writes Parquet; returns the number of rows.

    `to_parquet` would write the paths of the images. They are embedded while the file is written, not by another `map`,
    which would write all of them to an Arrow file first.
    """
    import pyarrow.parquet as pq
    from datasets import load_dataset
    from datasets.table import embed_table_storage

    with tempfile.TemporaryDirectory(dir=output.parent) as cache:
        processes = num_proc if num_proc > 1 else None
        data = load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=cache, num_proc=processes)
        checked = data.map(check, num_proc=processes)
        schema = checked.features.arrow_schema
        with pq.ParquetWriter(output, schema) as writer:
            for table in checked.with_format("arrow").iter(ROWS):
                writer.write_table(embed_table_storage(table.cast(schema)), row_group_size=ROWS)
        return len(checked)


def check(row: dict) -> dict:
    """Decodes the image; adds whether the image and its text are usable."""
    width, height = row["image"].size
    return {"usable": min(width, height) >= 8 and width * height <= 64_000_000 and 5 < len(row["text"]) < 1000}


if __name__ == "__main__":
    raise SystemExit(main())
