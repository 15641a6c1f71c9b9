"""Where are the decoded images of a split kept? In one file of uint8 pixels at the model's size, written once.

Decoding a photograph takes 5 to 400 ms, reading its pixels from here 0.02. An image is one tile of the model's size for
the encoder, one to four for the decoder, and only those that it has are kept. The folder of a cache is named by a
hash of the images' bytes and of everything that decides their pixels, so what is found is what is wanted, in whatever
order the rows come and whatever the dataset is called:

1. The distinct images of the rows are found by a hash of their bytes, and their tiles are counted from their headers.
2. A folder `NAME.building` gets the file of pixels, at its full size at once so that a full disk is noticed before the
   work, and the table of images, in which a checksum says that an image is done. Decoders let other threads run, so
   threads do the work. One that is killed loses nothing: the next one goes on with what has no valid checksum.
3. The manifest is written last, and the folder renamed to `NAME`.

`image_cache_files` reads them.
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

SPARE = 64 * 2**20  # bytes that are left free on the disk


def image_keys(count: int, encoded: Encoded) -> np.ndarray:
    """`[count]` of KEY: the hash of each row's encoded image."""
    keys = np.empty(count, KEY)
    for row in range(count):
        digest = xxhash.xxh3_128_intdigest(encoded(row)[0])
        keys[row] = digest >> 64, digest & (2**64 - 1)
    return keys


def cached_images(root: Path, reader: Reader, count: int, encoded: Encoded, workers: int) -> CachedImages:
    """The cache of the images of `count` rows: opened where there is one, built where there is none.

    Of several processes on one machine one builds, and the others wait for it.

    Args:
        root: folder of all caches.
        encoded: gives the bytes of a row's image; called from one thread.
        workers: threads that decode.

    Raises:
        InputError: an image cannot be read, the disk is too full, or the folder cannot be written.
    """
    distinct, first_rows, slots = np.unique(image_keys(count, encoded), return_index=True, return_inverse=True)
    settings = {"version": VERSION, "pillow": PIL.__version__, **asdict(reader)}
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    digest.update(distinct.tobytes())
    folder = root / digest.hexdigest()
    table = opened(folder, reader, distinct)
    if table is None:
        try:
            with waited_lock(folder.with_name(f"{folder.name}.lock")):
                table = opened(folder, reader, distinct)  # another process may have built it meanwhile
                if table is None:
                    table = build(folder, reader, distinct, first_rows, encoded, workers)
        except OSError as error:
            raise InputError(f"--image_cache {root}: {error.strerror or error}; {ELSEWHERE}") from None
    return CachedImages(folder, reader, slots.reshape(-1), table, encoded)


ELSEWHERE = "name another folder, or `none` to decode every image each time"


def opened(folder: Path, reader: Reader, distinct: np.ndarray) -> np.ndarray | None:
    """The table of a whole cache; None where there is none, or where its files are not what the manifest says."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        content = (folder / TABLE).read_bytes()
        whole = manifest["table"] == xxhash.xxh3_128_hexdigest(content)
        table = np.frombuffer(content, RECORD) if whole else np.empty(0, RECORD)
        whole &= (folder / PIXELS).stat().st_size == int(table["tiles"].sum()) * tile_bytes(reader)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return table if whole and np.array_equal(table["key"], distinct) else None


def build(
    folder: Path, reader: Reader, distinct: np.ndarray, first_rows: np.ndarray, encoded: Encoded, workers: int
) -> np.ndarray:
    """Writes a cache, and returns its table. Goes on where a process was killed. Only with the lock held."""
    work = folder.with_name(f"{folder.name}.building")
    if folder.exists() and not work.exists():
        folder.rename(work)  # what is still whole in a damaged cache is kept
    work.mkdir(parents=True, exist_ok=True)
    (work / MANIFEST).unlink(missing_ok=True)
    wanted = np.zeros(len(distinct), RECORD)
    wanted["key"], wanted["tiles"] = distinct, count_tiles(reader, first_rows, encoded)
    offsets = starts_of(wanted["tiles"]) * tile_bytes(reader)
    size = int(offsets[-1])
    with (work / PIXELS).open("a+b") as pixels, (work / TABLE).open("a+b") as file:
        reserve(pixels, size, work)
        file.truncate(wanted.nbytes)
    with (work / PIXELS).open("r+b") as pixels:
        table = np.memmap(work / TABLE, RECORD, "r+", shape=len(distinct))
        missing = unfinished(pixels, table, wanted, offsets)
        print(f"--image_cache: decoding {len(missing):,} images once, {size / 2**20:,.0f} MiB in {folder}", flush=True)
        fill(pixels.fileno(), table, offsets, missing, first_rows, reader, encoded, workers)
        table.flush()
        os.fsync(pixels.fileno())
    content = table.tobytes()
    manifest = {"images": len(distinct), "shape": reader.shape, "table": xxhash.xxh3_128_hexdigest(content)}
    (work / f"{MANIFEST}.part").write_text(json.dumps(manifest), encoding="utf-8")
    (work / f"{MANIFEST}.part").rename(work / MANIFEST)
    if not folder.exists():
        work.rename(folder)
    else:  # it is damaged, and whatever else lies there stays
        (folder / MANIFEST).unlink(missing_ok=True)
        for path in sorted(work.iterdir(), key=lambda path: path.name == MANIFEST):  # last, it says that all is there
            path.replace(folder / path.name)
        work.rmdir()
    return np.frombuffer(content, RECORD)


def count_tiles(reader: Reader, first_rows: np.ndarray, encoded: Encoded) -> np.ndarray:
    """`[images]` int64: the tiles of each distinct image. Places are known by them before the threads start."""
    if reader.max_tiles == 1:
        return np.ones(len(first_rows), np.int64)
    tiles = np.empty(len(first_rows), np.int64)
    for slot in np.argsort(first_rows):  # in the order of the rows, as they lie on the disk
        tiles[slot] = reader.tiles(*encoded(int(first_rows[slot])))
    return tiles


def reserve(file: IO[bytes], size: int, folder: Path) -> None:
    """Gives a file its full size on the disk. Raises InputError where there is not enough room."""
    held = os.fstat(file.fileno()).st_blocks * 512 if hasattr(os.stat_result, "st_blocks") else 0
    free = shutil.disk_usage(folder).free
    if size - held > max(free - SPARE, 0):
        raise InputError(
            f"--image_cache {folder.parent}: the images need {size / 2**20:,.0f} MiB, and "
            f"{max(free - SPARE, 0) / 2**20:,.0f} MiB are free; {ELSEWHERE}"
        )
    file.truncate(size)
    if hasattr(os, "posix_fallocate") and size:
        os.posix_fallocate(file.fileno(), 0, size)


def unfinished(file: IO[bytes], table: np.ndarray, wanted: np.ndarray, offsets: np.ndarray) -> list[int]:
    """The slots whose pixels do not have the checksum of the table; the table is set up for them.

    Args:
        wanted: `[images]` of RECORD, of which the note and the checksum are not known.
        offsets: `[images + 1]`, where the pixels of each image begin in the file.
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


def fill(
    file: int,
    table: np.ndarray,
    offsets: np.ndarray,
    missing: list[int],
    first_rows: np.ndarray,
    reader: Reader,
    encoded: Encoded,
    workers: int,
) -> None:
    """Decodes the missing images into their places, in the order of the rows, at most two a thread at a time."""
    from tqdm import tqdm

    def decode(slot: int, data: bytes, where: str) -> tuple[int, int, int]:
        pixels, note = reader(data, where)
        if pixels.nbytes != offsets[slot + 1] - offsets[slot]:  # it would lie over its neighbour
            raise InputError(f"{where}: the file was changed while the image cache was built; start again")
        write_at(file, pixels, int(offsets[slot]))
        return slot, note, checksum(pixels)

    def tasks(pool: ThreadPoolExecutor) -> Iterator[Future]:
        for slot in sorted(missing, key=first_rows.__getitem__):
            yield pool.submit(decode, slot, *encoded(int(first_rows[slot])))

    def finish(done: Future) -> None:
        slot, note, check = done.result()
        table["note"][slot] = note
        table["checksum"][slot] = check  # last: it says that the image is done
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
def waited_lock(path: Path) -> Iterator[None]:
    """Holds the lock of a file, and waits for whoever has it, saying so. It is free when its holder ends, however."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes at once are not told apart
        fcntl = None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"--image_cache: another process is building {path.with_suffix('')}; waiting for it", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
