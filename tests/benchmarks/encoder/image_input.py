"""Measures the CPU time per image of the encoder's input after the first epoch, compared with the stock processor.

    python tests/benchmarks/encoder/image_input.py --real_data ../shared/real_data

prints a table per collection and size, and writes `tests/benchmarks/results/encoder_input.json`. The stock path is that
of transformers' `run_clip.py`, from the bytes of the file: decode, convert to RGB, image processor. Ours is everything
between the image cache and the model: reading, collating, tokens, ids, and the normalization, which runs on the CPU
here. Both end with the same float tensor, on one thread; times are CPU seconds. Real files are few, so each is repeated
until the cache is larger than the CPU's own cache. `--real_data` is a folder with `pad_ufes/images/**/*.png` and
`slake/imgs/*/source.jpg`; without it, the synthetic photographs and slices of the build benchmark are measured.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import numpy as np
import PIL
from PIL import Image

from model_cards.results import write_json
from tests.benchmarks.dataset.build_sources import draw

RESULT = Path(__file__).parents[1] / "results" / "encoder_input.json"
SIZES, BATCHES = (224, 448), (8, 64)
BAR = 10.0  # required speedup over the stock processor, after the first epoch, at the specification's batch size of 8
KEPT_MB = 64  # minimum size of the pixels in a measured cache


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real_data", type=Path, help="folder with samples of the real sources")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="image sizes in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--kept_mb", type=float, default=KEPT_MB, help="minimum size of the cached pixels in MiB (default: %(default)s)"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs per measurement, whose median counts (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    import torch
    import transformers

    torch.set_num_threads(1)
    rows = []
    for name, files in collections(options.real_data).items():
        for size in options.sizes:
            with tempfile.TemporaryDirectory() as scratch:
                rows.append(measure(name, files, size, options.kept_mb, options.repeats, Path(scratch)))
            show(rows[-1])
    slowest = min(row["times_faster"] for row in rows)
    print(f"\nAt least {slowest} times faster after the first epoch; required: {BAR:g}")
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, one used",
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__}
        | {"torch": torch.__version__, "transformers": transformers.__version__},
        "bar": BAR,
        "least_times_faster": slowest,
        "collections": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result)
    return 0


def show(row: dict) -> None:
    print(f"\n{row['collection']} at {row['size']}")
    for name, value in row.items():
        if name not in ("collection", "size"):
            print(f"  {name.replace('_', ' '):<50} {value}")
    sys.stdout.flush()


def collections(real_data: Path | None) -> dict[str, list[bytes]]:
    """Returns the bytes of the files of each collection."""
    if real_data:
        patterns = {"PAD-UFES-20": "pad_ufes/images/**/*.png", "SLAKE": "slake/imgs/*/source.jpg"}
        found = {name: sorted(real_data.glob(pattern)) for name, pattern in patterns.items()}
        if empty := [patterns[name] for name, paths in found.items() if not paths]:
            raise SystemExit(f"--real_data {real_data}: no {' and no '.join(empty)}")
        return {name: [path.read_bytes() for path in paths] for name, paths in found.items()}
    print("No --real_data: synthetic lesions and slices are measured")
    with tempfile.TemporaryDirectory() as folder:
        counts = {"lesion": 6, "slice": 12}
        drawn = draw(Path(folder), counts)
        return {f"drawn {kind}": [(Path(folder) / one.path).read_bytes() for one in drawn if one.kind == kind]
                for kind in counts}  # fmt: skip


def measure(name: str, files: list[bytes], size: int, kept_mb: float, repeats: int, scratch: Path) -> dict:
    """Measures one collection at one size: CPU milliseconds per image, and the difference from the stock pixels."""
    from trainers.encoder.data import collator as encoder_collator
    from trainers.encoder.data import dataset as encoder_rows
    from trainers.images import augmentation
    from trainers.images import encoder_pixels as pixels

    count = max(len(files), -(-int(kept_mb * 2**20) // (3 * size * size)), max(BATCHES))
    rows, processor = dataset(files, count), open_processor(scratch / "model", size)
    reader = pixels.PixelReader.of(processor.image_processor)
    collator = encoder_collator.EncoderCollator(processor, uint8=True)

    def batches(ones: Any, batch: int) -> Callable[[], None]:
        def epoch() -> None:
            order = np.random.default_rng(0).permutation(count).tolist()
            for start in range(0, count - batch + 1, batch):
                made = collator(ones.__getitems__(order[start : start + batch]))
                pixels.normalize_pixels(made["pixel_values"], **collator.normalization)

        return epoch

    def stock_epoch(batch: int) -> Callable[[], None]:
        def epoch() -> None:
            for start in range(0, len(files), batch):
                stock(processor.image_processor, files[start : start + batch])

        return epoch

    def cost(function: Callable[[], Any], images: int, times: int = repeats) -> float:
        """Returns the CPU milliseconds per image, the median of several runs."""
        return float(np.median([seconds(function) for _ in range(times)])) / images * 1e3

    first = 1e3 * seconds(lambda: encoder_rows.EncoderRows(rows, reader, scratch / "cache")) / count
    ones = encoder_rows.EncoderRows(rows, reader, scratch / "cache")
    start_again = cost(lambda: encoder_rows.EncoderRows(rows, reader, scratch / "cache"), count)
    batches(ones, BATCHES[0])()  # a first epoch, after which all tokens are cached
    stock_ms = {batch: cost(stock_epoch(batch), len(files)) for batch in BATCHES}
    ours_ms = {batch: cost(batches(ones, batch), count // batch * batch) for batch in BATCHES}
    light = encoder_rows.EncoderRows(rows, reader, scratch / "cache", augmentation=augmentation.Augmentation(0))
    row = {"collection": name, "size": size, "files": len(files), "rows": count}
    row["stock_ms"] = round(stock_ms[BATCHES[0]], 3)
    row["ours_ms"] = round(ours_ms[BATCHES[0]], 3)
    row["times_faster"] = round(stock_ms[BATCHES[0]] / ours_ms[BATCHES[0]], 1)
    row[f"times_faster_at_batch_{BATCHES[1]}"] = round(stock_ms[BATCHES[1]] / ours_ms[BATCHES[1]], 1)
    row["ours_without_normalisation_ms"] = round(cost(bytes_only(ones, collator, count), count), 3)
    row["augmented_ms"] = round(cost(batches(light, BATCHES[0]), count, 3), 3)
    row["first_epoch_ms"] = round(first, 3)
    row["start_again_ms"] = round(start_again, 4)
    row["bytes_in_cache"] = sum(path.stat().st_size for path in ones.cached.folder.iterdir()) // count
    return row | differences(ones, processor, files, reader, pixels)


def bytes_only(ones: Any, collator: Any, count: int) -> Callable[[], None]:
    """Returns the CPU's part of an epoch if a GPU normalizes the pixels."""

    def epoch() -> None:
        order = np.random.default_rng(0).permutation(count).tolist()
        for start in range(0, count, BATCHES[0]):
            collator(ones.__getitems__(order[start : start + BATCHES[0]]))

    return epoch


def differences(ones: Any, processor: Any, files: list[bytes], reader: Any, pixels: Any) -> dict:
    """Compares cached pixels, before and after normalization, and draft pixels with those of the stock processor."""
    import torch

    cached = np.stack([row["pixels"] for row in ones.__getitems__(list(range(len(files))))])
    exact = stock(processor.image_processor, files, do_rescale=False, do_normalize=False).numpy().astype(int)
    normal = pixels.normalize_pixels(torch.from_numpy(cached), **pixels.normalization_of(processor.image_processor))
    draft = pixels.PixelReader(reader.height, reader.width, reader.resample, draft=True)
    drafted = np.stack([draft(data, "a file")[0] for data in files])
    plain_ms, draft_ms = (
        1e3 * seconds(lambda kind=kind: [kind(data, "") for data in files]) for kind in (reader, draft)
    )
    return {
        "largest_difference_of_255": int(np.abs(cached - exact).max()),
        "largest_difference_normalised": float((normal - stock(processor.image_processor, files)).abs().max()),
        "decode_ms": round(plain_ms / len(files), 3),
        "draft_decode_ms": round(draft_ms / len(files), 3),
        "draft_mean_difference_of_255": round(float(np.abs(drafted - exact).mean()), 3),
        "draft_largest_difference_of_255": int(np.abs(drafted - exact).max()),
    }


def stock(image_processor: Any, files: list[bytes], **settings: Any) -> Any:
    """Applies the image processor to files that are opened as in `run_clip.py`; returns `[N, 3, H, W]`."""
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
    return image_processor(images=images, return_tensors="pt", **settings)["pixel_values"]


def seconds(function: Callable[[], Any]) -> float:
    """Returns the CPU seconds of a call, which do not include other work of the machine."""
    start = time.process_time()
    function()
    return time.process_time() - start


def dataset(files: list[bytes], count: int) -> Any:
    """Makes a dataset of `count` rows from fewer files.

    A repeated file gets other bytes after its end, so that the cache treats it as another image.
    """
    import datasets

    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    images = [files[row % len(files)] + (row // len(files)).to_bytes(4, "big") for row in range(count)]
    columns = {"image": [{"bytes": data, "path": None} for data in images]}
    columns["text"] = [f"Finding number {row}: no change since the last visit." for row in range(count)]
    return datasets.Dataset.from_dict(columns, features=features)


def open_processor(folder: Path, size: int) -> Any:
    """Returns a SigLIP processor whose image processor equals the released one except for the size."""
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
    from modeling.tiny_checkpoints import write_tiny_encoder

    write_tiny_encoder(folder, ["finding number one two three", "no change since the last visit"], image_size=size)
    return SiglipMedicalProcessor.from_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
