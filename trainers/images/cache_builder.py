"""Builds the cache of a split's decoded images: one file of uint8 pixels at the model's input size.

Decoding a photograph takes 5 to 400 ms, reading its pixels from the cache 0.02 ms. For the encoder an image is one
tile; for the decoder it is one to four, and empty tiles are not stored. The name of a cache folder is a hash of the
images' bytes and of every setting that affects their pixels. A cache that is found is therefore the right one, whatever
the order of the rows and the name of the dataset:

1. Hash the bytes of each row's image to find the distinct images, and count their tiles from their headers.
2. Allocate the pixel file in a folder `NAME.building` at its full size, so that a full disk is noticed before the work,
   and the table of images, in which a nonzero checksum marks an image as done. Threads decode the images, because
   Pillow's decoders release the GIL. A killed build loses nothing: the next one decodes what has no valid checksum.
3. Write the manifest, then rename the folder to `NAME`.

`cache_reader.py` reads the result.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np
import PIL
import xxhash

from evaluation.loading import InputError
from trainers.images.cache_reader import (
    KEY,
    MANIFEST,
    PIXELS,
    RECORD,
    TABLE,
    VERSION,
    CachedImages,
    Encoded,
    Reader,
    checksum,
    starts_of,
    tile_bytes,
    write_at,
)

# Bytes that a cache leaves free on the disk.
SPARE = 64 * 2**20
ADVICE = "Use another folder, or `none` to decode every image at each access"


def image_keys(count: int, encoded: Encoded) -> np.ndarray:
    """Returns `[count]` of KEY, the hash of each row's encoded image."""
    keys = np.empty(count, KEY)
    for row in range(count):
        digest = xxhash.xxh3_128_intdigest(encoded(row)[0])
        # The upper and the lower 64 of 128 bits: numpy has no wider integer.
        keys[row] = digest >> 64, digest & (2**64 - 1)
    return keys


def cached_images(root: Path, reader: Reader, count: int, encoded: Encoded, workers: int) -> CachedImages:
    """Opens the cache of the images of `count` rows, and builds it if it does not exist.

    If several processes of one machine need it, one builds it and the others wait.

    Args:
        root: the folder of all caches.
        reader: decodes an image; its fields are part of the cache's name.
        count: number of rows.
        encoded: maps a row to the bytes of its image and a name for messages; called from one thread.
        workers: number of decoding threads.

    Raises:
        InputError: an image cannot be read, the disk is too full, or the folder cannot be written.
    """
    # distinct: [images] of KEY, sorted; first_rows: [images], a row of each; slots: [rows], the image of each row.
    distinct, first_rows, slots = np.unique(image_keys(count, encoded), return_index=True, return_inverse=True)
    settings = {"version": VERSION, "pillow": PIL.__version__, **asdict(reader)}
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    digest.update(distinct.tobytes())
    folder = root / digest.hexdigest()
    table = read_table(folder, reader, distinct)
    if table is None:
        try:
            with file_lock(folder.with_name(f"{folder.name}.lock")):
                # Another process may have built it while this one waited.
                table = read_table(folder, reader, distinct)
                if table is None:
                    table = build_cache(folder, reader, distinct, first_rows, encoded, workers)
        except OSError as error:
            raise InputError(f"--image_cache {root}: {error.strerror or error}. {ADVICE}") from None
    return CachedImages(folder, reader, slots.reshape(-1), table, encoded)


def read_table(folder: Path, reader: Reader, distinct: np.ndarray) -> np.ndarray | None:
    """Returns the table of a complete cache; None if it does not exist or its files do not match the manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        content = (folder / TABLE).read_bytes()
        intact = manifest["table"] == xxhash.xxh3_128_hexdigest(content)
        table = np.frombuffer(content, RECORD) if intact else np.empty(0, RECORD)
        intact &= (folder / PIXELS).stat().st_size == int(table["tiles"].sum()) * tile_bytes(reader)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return table if intact and np.array_equal(table["key"], distinct) else None


def build_cache(
    folder: Path, reader: Reader, distinct: np.ndarray, first_rows: np.ndarray, encoded: Encoded, workers: int
) -> np.ndarray:
    """Builds a cache, or continues a build that was killed. The caller holds the lock.

    Args:
        distinct: `[images]` of KEY, sorted.
        first_rows: `[images]`, a row that has each image.

    Returns:
        the table, `[images]` of RECORD.
    """
    work = folder.with_name(f"{folder.name}.building")
    if folder.exists() and not work.exists():
        # A damaged cache: its intact images are reused.
        folder.rename(work)
    work.mkdir(parents=True, exist_ok=True)
    (work / MANIFEST).unlink(missing_ok=True)
    wanted = np.zeros(len(distinct), RECORD)
    wanted["key"], wanted["tiles"] = distinct, count_tiles(reader, first_rows, encoded)
    offsets = starts_of(wanted["tiles"]) * tile_bytes(reader)
    size = int(offsets[-1])
    with (work / PIXELS).open("a+b") as pixels, (work / TABLE).open("a+b") as file:
        reserve_space(pixels, size, work)
        file.truncate(wanted.nbytes)
    with (work / PIXELS).open("r+b") as pixels:
        table = np.memmap(work / TABLE, RECORD, "r+", shape=len(distinct))
        missing = find_unfinished(pixels, table, wanted, offsets)
        print(f"--image_cache: decoding {len(missing):,} images to {folder} ({size / 2**20:,.0f} MiB)", flush=True)
        decode_missing(pixels.fileno(), table, offsets, missing, first_rows, reader, encoded, workers)
        table.flush()
        os.fsync(pixels.fileno())
    content = table.tobytes()
    manifest = {"images": len(distinct), "shape": reader.shape, "table": xxhash.xxh3_128_hexdigest(content)}
    (work / f"{MANIFEST}.part").write_text(json.dumps(manifest), encoding="utf-8")
    (work / f"{MANIFEST}.part").rename(work / MANIFEST)
    if not folder.exists():
        work.rename(folder)
    else:
        # A damaged cache and a killed build exist side by side: the new files replace the old ones, other files stay.
        (folder / MANIFEST).unlink(missing_ok=True)
        # False sorts before True: the manifest, which marks the cache as complete, is moved last.
        for path in sorted(work.iterdir(), key=lambda path: path.name == MANIFEST):
            path.replace(folder / path.name)
        work.rmdir()
    return np.frombuffer(content, RECORD)


def count_tiles(reader: Reader, first_rows: np.ndarray, encoded: Encoded) -> np.ndarray:
    """Returns `[images]` int64, the number of tiles of each distinct image.

    From these follows the offset of each image in the pixel file, before any image is decoded.
    """
    if reader.max_tiles == 1:
        return np.ones(len(first_rows), np.int64)
    tiles = np.empty(len(first_rows), np.int64)
    # In the order of the rows, which is that of the files on the disk.
    for slot in np.argsort(first_rows):
        tiles[slot] = reader.tiles(*encoded(int(first_rows[slot])))
    return tiles


def reserve_space(file: IO[bytes], size: int, folder: Path) -> None:
    """Allocates the full size of a file, in bytes, on the disk.

    Raises:
        InputError: there is not enough space.
    """
    # st_blocks counts units of 512 bytes, whatever the block size of the file system.
    allocated = os.fstat(file.fileno()).st_blocks * 512 if hasattr(os.stat_result, "st_blocks") else 0
    free = max(shutil.disk_usage(folder).free - SPARE, 0)
    if size - allocated > free:
        raise InputError(
            f"--image_cache {folder.parent}: the decoded images need {size / 2**20:,.0f} MiB, but only "
            f"{free / 2**20:,.0f} MiB are free. {ADVICE}"
        )
    file.truncate(size)
    if hasattr(os, "posix_fallocate") and size:
        os.posix_fallocate(file.fileno(), 0, size)


def find_unfinished(file: IO[bytes], table: np.ndarray, wanted: np.ndarray, offsets: np.ndarray) -> list[int]:
    """Finds the images whose pixels are missing or do not match their checksum, and resets their records.

    Args:
        file: the pixel file.
        table: `[images]` of RECORD as an earlier build left it; changed in place.
        wanted: `[images]` of RECORD with key and tiles; note and checksum are still 0.
        offsets: `[images + 1]` int64, the first byte of each image in the pixel file.

    Returns:
        their indices in the table.
    """
    missing = []
    for slot, fresh in enumerate(wanted):
        record = table[slot]
        if record["checksum"] and record["key"] == fresh["key"] and record["tiles"] == fresh["tiles"]:
            file.seek(int(offsets[slot]))
            pixels = np.frombuffer(file.read(int(offsets[slot + 1] - offsets[slot])), np.uint8)
            if checksum(pixels) == record["checksum"]:
                continue
        table[slot] = fresh
        missing.append(slot)
    return missing


def decode_missing(
    file: int,
    table: np.ndarray,
    offsets: np.ndarray,
    missing: list[int],
    first_rows: np.ndarray,
    reader: Reader,
    encoded: Encoded,
    workers: int,
) -> None:
    """Decodes the missing images to their offsets in the file, in the order of the rows.

    At most two images per thread wait at a time, so that the encoded files do not fill the memory.

    Args:
        file: descriptor of the pixel file.
        table: `[images]` of RECORD, memory-mapped; note and checksum of each image are set.
        offsets: `[images + 1]` int64, in bytes.
        missing: indices in the table.
        first_rows: `[images]`, a row that has each image.
    """
    from tqdm import tqdm

    def decode(slot: int, data: bytes, where: str) -> tuple[int, int, int]:
        pixels, note = reader(data, where)
        # An image with more tiles than its header said would overwrite the next one.
        if pixels.nbytes != offsets[slot + 1] - offsets[slot]:
            raise InputError(f"{where}: the file was changed while the image cache was built. Start the command again")
        write_at(file, pixels, int(offsets[slot]))
        return slot, note, checksum(pixels)

    def tasks(pool: ThreadPoolExecutor) -> Iterator[Future]:
        for slot in sorted(missing, key=first_rows.__getitem__):
            yield pool.submit(decode, slot, *encoded(int(first_rows[slot])))

    def finish(done: Future) -> None:
        slot, note, check = done.result()
        table["note"][slot] = note
        # Last, because a nonzero checksum marks the image as done.
        table["checksum"][slot] = check
        bar.update()

    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(missing), unit=" images", disable=None) as bar:
        running: deque[Future] = deque()
        try:
            for task in tasks(pool):
                running.append(task)
                if len(running) > 2 * workers:
                    finish(running.popleft())
            while running:
                finish(running.popleft())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, waiting for its holder with a message. It is released when its process ends."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"--image_cache: another process is building {path.with_suffix('')}; waiting for it", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
