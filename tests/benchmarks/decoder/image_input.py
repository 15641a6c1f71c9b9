"""Measures the CPU time per image of the decoder's input after the first epoch, compared with the stock processor.

    python tests/benchmarks/decoder/image_input.py --real_data ../shared/real_data

prints a table per collection, for up to four tiles of 560 pixels, and writes
`tests/benchmarks/results/decoder_input.json`. The stock path is MllamaImageProcessorPil from the bytes of the file.
Ours is everything between the image cache and the model: reading, collating, and the conversion to floats, which runs
on the CPU here; the time without the conversion, as with a GPU, has its own line. Both end with the same float tensor,
on one thread; times are CPU seconds. In addition, the wall time of a DataLoader with 0 to 4 workers is measured on a
dataset with 13 questions per image. `--real_data` is a folder with `pad_ufes/images/**/*.png` and
`slake/imgs/*/source.jpg`, which are measured in addition to the synthetic images.
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
from tests.benchmarks.dataset.build_sources import field, grain, noise_tile, to_bytes
from tests.benchmarks.encoder.image_input import collections as real_collections
from tests.benchmarks.encoder.image_input import seconds

RESULT = Path(__file__).parents[1] / "results" / "decoder_input.json"
TILE, TILES, BATCH = 560, 4, 4
ROWS_PER_IMAGE, SHARED = 13, 8  # questions per image, and rows of one image in a batch
WORKERS = (0, 1, 2, 4)
BAR = 8.0  # required speedup over the stock processor, after the first epoch
KEPT_MB = 150  # minimum size of the tiles in a measured cache, more than fits in the cache of a CPU


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real_data", type=Path, help="folder with samples of the real sources")
    parser.add_argument("--tile", type=int, default=TILE, help="side of a tile in pixels (default: %(default)s)")
    parser.add_argument(
        "--kept_mb", type=float, default=KEPT_MB, help="minimum size of the cached tiles in MiB (default: %(default)s)"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs per measurement, whose median counts (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, nargs="+", default=WORKERS, help="numbers of loader processes (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    import torch
    import transformers

    torch.set_num_threads(1)
    rows = []
    for name, files in collections(options.real_data).items():
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(measure(name, files, options, Path(scratch)))
        show(rows[-1])
    least = {kind: min(row[kind] for row in rows) for kind in ("times_faster", "times_faster_without_normalisation")}
    print(f"\nAt least {least['times_faster']} times faster after the first epoch; required: {BAR:g}")
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, one used",
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__}
        | {"torch": torch.__version__, "transformers": transformers.__version__},
        "tile": options.tile,
        "bar": BAR,
        **{f"least_{kind}": value for kind, value in least.items()},
        "collections": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result)
    return 0


def show(row: dict) -> None:
    print(f"\n{row['collection']}")
    for name, value in row.items():
        if name != "collection":
            print(f"  {name.replace('_', ' '):<50} {value}")
    sys.stdout.flush()


def collections(real_data: Path | None) -> dict[str, list[bytes]]:
    """Returns the bytes of the files of each collection."""
    noise, rng = noise_tile(), np.random.default_rng(0)
    drawn = {"drawn photographs, JPEG 1500 x 1200": [], "drawn slices, PNG 512 x 512": []}
    photographs, slices = drawn.values()
    for _ in range(6):
        light = field(rng, 1500, 1200) + 6 * grain(rng, noise, 1500, 1200)
        colors = [to_bytes(0.7 * light + 0.3 * field(rng, 1500, 1200, 4)) for _ in range(3)]
        photographs.append(saved(Image.fromarray(np.stack(colors, axis=-1)), "JPEG", quality=90))
        slices.append(
            saved(Image.fromarray(to_bytes(field(rng, 512, 512, 24) + 3 * grain(rng, noise, 512, 512))), "PNG")
        )
    return drawn | (real_collections(real_data) if real_data else {})


def saved(image: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def measure(name: str, files: list[bytes], options: argparse.Namespace, scratch: Path) -> dict:
    """Measures one collection: milliseconds per image, then per row with 13 rows per image."""
    from trainers.decoder.data import dataset as decoder_rows
    from trainers.images import decoder_tiles as tiles

    processor = image_processor(options.tile)
    reader = tiles.TileReader.of(processor)
    bytes_each = np.mean([reader(data, "a file")[0].nbytes for data in files])
    count = max(len(files), -(-int(options.kept_mb * 2**20) // int(bytes_each)), 2 * BATCH)
    rows = dataset(files, count, 1)

    def open_rows(ones: Any = rows) -> Any:
        return decoder_rows.DecoderRows(ones, Tokens(len(ones)), reader, scratch / "cache")

    def cost(function: Callable[[], Any], images: int) -> float:
        """Returns the CPU milliseconds per image, the median of several runs."""
        return round(float(np.median([seconds(function) for _ in range(options.repeats)])) / images * 1e3, 4)

    first = 1e3 * seconds(open_rows) / count
    ones, order = open_rows(), np.random.default_rng(0).permutation(count).tolist()
    epoch(ones, order, processor)  # a first epoch, in which every view of the cache is checked
    whole = count // BATCH * BATCH
    row = {"collection": name, "files": len(files), "images": count}
    row["tiles_an_image"] = round(float(ones.cached.table["tiles"].mean()), 2)
    row["stock_ms"] = cost(lambda: [stock(processor, data) for data in files], len(files))
    row["ours_ms"] = cost(lambda: epoch(ones, order, processor), whole)
    row["times_faster"] = round(row["stock_ms"] / row["ours_ms"], 1)
    row["ours_without_normalisation_ms"] = cost(lambda: epoch(ones, order), whole)
    row["times_faster_without_normalisation"] = round(row["stock_ms"] / row["ours_without_normalisation_ms"], 1)
    row["view_ms"] = cost(lambda: [ones[number] for number in order], count)
    row["view_in_a_new_process_ms"] = cost(lambda: reread(ones, order), count)
    row["first_epoch_ms"] = round(first, 3)
    row["start_again_ms"] = cost(open_rows, count)
    row["decode_and_tile_ms"] = cost(lambda: [reader(data, "a file") for data in files], len(files))
    draft = tiles.TileReader.of(processor, draft=True)
    row["draft_decode_and_tile_ms"] = cost(lambda: [draft(data, "a file") for data in files], len(files))
    row["bytes_in_cache"] = sum(path.stat().st_size for path in ones.cached.folder.iterdir()) // count
    row |= differences(ones, processor, files, draft)
    return row | shared_rows(open_rows(dataset(files, count, ROWS_PER_IMAGE)), processor, options)


def epoch(ones: Any, order: list[int], processor: Any = None, batch: int = BATCH) -> None:
    """Reads and packs batches of rows; with a processor, also converts them to floats."""
    from trainers.images.decoder_tiles import unpack_tiles

    for start in range(0, len(order) - batch + 1, batch):
        made = pack(ones.__getitems__(order[start : start + batch]))
        if processor is not None:
            unpack_tiles(made, processor)


def reread(ones: Any, order: list[int]) -> None:
    """Reads every view like a new process, which maps and checks it first."""
    ones.cached.pixels = None
    for number in order:
        ones[number]


def pack(items: list[dict]) -> dict[str, Any]:
    """Packs the images of rows like the decoder's collator: the tiles of the distinct images."""
    import torch

    images = {key: (tiles, ratio) for item in items for key, tiles, ratio in item["images"]}
    counts = torch.tensor([len(tiles) for tiles, _ in images.values()])
    return {
        "tiles": torch.from_numpy(np.concatenate([tiles for tiles, _ in images.values()])),
        "aspect_ratio_ids": torch.tensor([ratio for _, ratio in images.values()]),
        "aspect_ratio_mask": (torch.arange(TILES) < counts[:, None]).long(),
    }


def differences(ones: Any, processor: Any, files: list[bytes], draft: Any) -> dict:
    """Compares our floats and draft tiles with those of the stock processor."""
    from trainers.images.decoder_tiles import unpack_tiles

    largest, drafted = 0.0, []
    for number, data in enumerate(files):
        floats = unpack_tiles(pack([ones[number]]), processor)["pixel_values"][0].numpy()
        largest = max(largest, float(np.abs(floats - stock(processor, data)[0, 0]).max()))
        (_, exact, _), quick = ones[number]["images"][0], draft(data, "a file")[0]
        drafted.append(np.abs(exact.astype(int) - quick))
    return {
        "largest_difference_normalised": largest,
        "draft_mean_difference_of_255": round(float(np.mean([one.mean() for one in drafted])), 3),
        "draft_largest_difference_of_255": int(max(one.max() for one in drafted)),
    }


def shared_rows(ones: Any, processor: Any, options: argparse.Namespace) -> dict:
    """Measures CPU milliseconds per row with SHARED rows of an image per batch, and wall time per batch of a loader."""
    import torch

    order = np.concatenate(
        [np.flatnonzero(ones.keys == key)[: ROWS_PER_IMAGE // SHARED * SHARED] for key in np.unique(ones.keys)]
    ).tolist()
    found: dict[str, Any] = {"rows": len(ones), "rows_in_a_batch": SHARED}
    epoch(ones, order, processor, SHARED)
    for name, normalize in (("row_of_13_ms", processor), ("row_of_13_without_normalisation_ms", None)):
        costs = [seconds(lambda normalize=normalize: epoch(ones, order, normalize, SHARED)) for _ in range(3)]
        found[name] = round(1e3 * float(np.median(costs)) / len(order), 4)
    batches = [order[start : start + SHARED] for start in range(0, len(order), SHARED)]
    for workers in options.workers:
        loader = torch.utils.data.DataLoader(
            ones, batch_sampler=batches, collate_fn=pack, num_workers=workers, persistent_workers=workers > 0
        )
        times = []
        for _ in range(options.repeats):
            start = time.perf_counter()
            for _ in loader:
                pass
            times.append(time.perf_counter() - start)
        found[f"loader_of_{workers}_workers_ms_a_batch"] = round(
            1e3 * float(np.median(times[1:] or times)) / len(batches), 3
        )
    return found


def stock(processor: Any, data: bytes) -> np.ndarray:
    """Applies the image processor to a file; returns `[1, 1, tiles, 3, H, W]`."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return processor(images=[[image]], return_tensors="np")["pixel_values"]


class Tokens:
    """The tokens of rows with 64 tokens each, with the interface that DecoderRows requires."""

    def __init__(self, rows: int) -> None:
        self.tokens = np.zeros((rows, 64), np.int64)

    def input_ids(self, row: int) -> np.ndarray:
        return self.tokens[row]

    labels = input_ids

    def prompt_length(self, row: int) -> int:
        return 48


def dataset(files: list[bytes], count: int, rows_per_image: int) -> Any:
    """Makes a dataset of `count` images from fewer files, with `rows_per_image` rows per image.

    A repeated file gets other bytes after its end, so that the cache treats it as another image.
    """
    import datasets

    features = datasets.Features({"images": datasets.List(datasets.Image())})
    images = [files[row % len(files)] + (row // len(files)).to_bytes(4, "big") for row in range(count)]
    columns = {"images": [[{"bytes": data, "path": None}] for data in images for _ in range(rows_per_image)]}
    return datasets.Dataset.from_dict(columns, features=features)


def image_processor(tile: int) -> Any:
    """Returns an image processor that equals that of the released Instruct model except for the tile size."""
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    from modeling.tiny_checkpoints import CLIP_MEAN, CLIP_STD

    size = {"height": tile, "width": tile}
    return MllamaImageProcessorPil(size=size, max_image_tiles=TILES, image_mean=CLIP_MEAN, image_std=CLIP_STD)


if __name__ == "__main__":
    sys.exit(main())
