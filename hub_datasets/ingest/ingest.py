"""Ingests a folder of a source in one pass: checks each record, and reads, decodes, hashes and cleans each image once.

The result, a stage, is a folder with a catalog and the bytes of those images that the source folder does not hold as
they are published (`catalog`). It is cached beside the output and reused while
the files of the source folder, the settings and this code are unchanged; in that case the files are listed but not
read. Each folder of a source has its own stage.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import xxhash

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.images.metadata import edits_to_json
from hub_datasets.images.validation import ImageSettings, examine_pictures
from hub_datasets.ingest.catalog import Catalog
from hub_datasets.ingest.executors import Engine
from hub_datasets.ingest.identifying import Identifying, find_flags, flag_known, note_headers
from hub_datasets.ingest.image_bytes import MOST_EDITS, StagedBytes
from hub_datasets.ingest.progress import Progress, counted
from hub_datasets.records import Ignored, Problem, Regions, Rejection, TableNote
from hub_datasets.sources.base import Source
from hub_datasets.synthetic.marker import is_synthetic
from hub_datasets.texts.validation import TextSettings, check_text, write_record

IMAGES_PER_TASK = 32  # enough to hide the start of a task; fewer at the end, so that no worker waits long
LEAST_PER_TASK = 4
MANIFEST = "stage.json"
CATALOG = "catalogue.sqlite"
DECODERS = (
    "pillow",
    "numpy",
    "rapidocr-onnxruntime",
    "openpyxl",
    "py3langid",
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg",
    "python-gdcm",
)  # packages; those that read workbooks and languages decide what a record is, too


@dataclass(frozen=True, slots=True)
class Stage:
    """An ingested folder of a source.

    Attributes:
        address: address of the stage's folder.
        key: changes with the source's files, the settings and the code.
        catalog: the catalog's file on this machine.
        reused: whether an earlier build wrote it.
        synthetic: whether this project drew the images.
        lasting: whether another build may use it; false if a file could not be read, because that may be repaired by
            then.
    """

    source: Source
    folder: Folder
    address: str
    key: str
    catalog: Path
    reused: bool
    synthetic: bool
    lasting: bool = True


def stage_keys(folders: Iterable[tuple[Source, Folder]], images: ImageSettings, texts: TextSettings) -> list[str]:
    """Returns a hash of everything that the stage of each folder depends on, 20 hexadecimal digits each."""
    common = [asdict(images), asdict(texts), code_version()]
    return [digest([source.name, folder.state(), *common])[:20] for source, folder in folders]


def ingest_folder(
    source: Source,
    folder: Folder,
    key: str,
    images: ImageSettings,
    texts: TextSettings,
    engine: Engine,
    root: str,
    scratch: Path,
) -> Stage:
    """Ingests a folder of a source into a stage below `root`, or returns the cached stage if nothing has changed.

    Args:
        key: the key of the folder from `stage_keys`.
        root: path or fsspec address; the engine's workers write to it.
        scratch: a folder on this machine, for catalogs of a remote `root`.
    """
    address = storage.join(root, f"{source.name}-{key}")
    synthetic = is_synthetic(folder)
    remote = storage.is_remote(root)
    catalog = scratch / f"{source.name}-{key}.sqlite" if remote else storage.local_path(address) / CATALOG
    if is_complete(address):
        if remote:
            with storage.open_file(storage.join(address, CATALOG), "rb") as there, catalog.open("wb") as here:
                shutil.copyfileobj(there, here)
        return Stage(source, folder, address, key, catalog, reused=True, synthetic=synthetic)

    storage.remove(address)  # the rest of a build that was killed
    try:
        read_records(source, folder, texts, catalog)
        failures = folder.failures + examine_images(source, folder, images, engine, catalog, address)
        if stage_keys([(source, folder)], images, texts) != [key]:
            raise BuildError(f"{source.flag} {folder.named()}: files changed while they were read; run again")
        if remote:
            with catalog.open("rb") as here, storage.open_file(storage.join(address, CATALOG), "wb") as there:
                shutil.copyfileobj(here, there)
        content = {"source": source.name, "key": key, "failures": failures, "files": storage.sizes_in(address)}
        with storage.open_file(
            storage.join(address, MANIFEST), "wb"
        ) as file:  # last, because it marks the stage as complete
            file.write(json.dumps(content, indent=1).encode())
    except BaseException:
        storage.remove(address)
        raise
    return Stage(source, folder, address, key, catalog, reused=False, synthetic=synthetic, lasting=not failures)


def is_complete(address: str) -> bool:
    """Returns whether a stage has every file that it was written with, and every source file could be read for it."""
    sizes = storage.sizes_in(address)
    if sizes.pop(MANIFEST, None) is None:
        return False
    try:
        content = json.loads(storage.read(storage.join(address, MANIFEST)))
        return content["files"] == sizes and not content["failures"]
    except (ValueError, KeyError, TypeError):
        return False


def read_records(source: Source, folder: Folder, texts: TextSettings, path: Path) -> None:
    """Reads all records of a source and checks everything except the images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    catalog = Catalog(path, "create")
    identifying = None if source.redistributable else Identifying(catalog)
    named = f"{source.name} {folder.label}".rstrip()
    notes: list[TableNote] = []
    records = source.read(folder, texts.columns, notes) if source.tables else source.read(folder)
    limit = texts.limit(source.kind)
    for record in counted(records, f"{named}: records"):
        if isinstance(record, Ignored):
            catalog.ignore(record)
        elif isinstance(record, Regions):
            catalog.add_regions(record)
        elif isinstance(record, Rejection):
            catalog.reject(record.item, record.code, record.message)
        elif isinstance(content := write_record(record), Problem):
            catalog.reject(record.item, content.code, content.message)
        elif problem := check_text(record, texts.min_chars, *limit):
            catalog.reject(record.item, problem.code, problem.message)
        else:
            catalog.add(record, find_flags(record, source), content)
            if identifying:
                identifying.add(catalog.count, record)
    if identifying:
        identifying.finish()
    for note in notes:
        catalog.note(note)
    catalog.close()


def examine_images(
    source: Source,
    folder: Folder,
    settings: ImageSettings,
    engine: Engine,
    path: Path,
    address: str,
) -> int:
    """Examines every image that a usable record names, and writes their bytes to the folder `address`.

    Returns:
        the number of images that exist and could not be read.
    """
    catalog = Catalog(path, "change")
    total = catalog.count_images()
    common = {
        "folder": storage.absolute(folder.address),
        "follow_links": folder.follow_links,
        "unpacked": folder.scratch,
        "reading": uuid.uuid4().hex,
        "settings": asdict(settings),
        "thumbnails": source.scans,
    }
    failures = 0
    tasks = (
        {**common, "names": names, "target": storage.join(address, f"images-{number:06d}.bin")}
        for number, names in enumerate(batches(catalog.image_names(), total))
    )
    named = f"{source.name} {folder.label}".rstrip()
    with Progress(f"{named}: images", total) as progress:
        for result in engine.map(examine_batch, tasks):
            catalog.add_images(result["images"])
            if not source.redistributable:
                note_headers(catalog, result["images"])
            failures += result["failures"]
            progress.update(result["files"])
    if not source.redistributable:
        flag_known(catalog)
    catalog.finish()
    return failures


def batches(items: Iterable[str], total: int) -> Iterator[list[str]]:
    """Yields the items, of which there are `total`, in lists that get shorter towards the end."""
    items, left = iter(items), total
    while batch := list(islice(items, min(IMAGES_PER_TASK, max(LEAST_PER_TASK, left // 16)))):
        yield batch
        left -= len(batch)


def examine_batch(task: dict[str, Any]) -> dict[str, Any]:
    """Reads and examines some images of a source in a worker, and writes the bytes to publish to one file."""
    folder = open_cached(task["folder"], task["reading"], task.get("follow_links", False), task.get("unpacked", ""))
    before = folder.failures
    settings = ImageSettings(**task["settings"])
    images = []
    with StagedBytes(task["target"]) as staged:
        for name in task["names"]:
            try:
                pictures = examine_pictures(folder.read(name), name, settings)
            except FolderError as error:
                pictures = [(name, Problem(error.code, error.message))]
            for picture_name, found in pictures:
                row = {"name": picture_name} | ({"frame_of": name} if picture_name != name else {})
                if isinstance(found, Problem):
                    images.append(row | {"code": str(found.code), "message": found.message})
                    continue
                edits = found.edits
                stays = edits is not None and len(edits) <= MOST_EDITS and picture_name == name and folder.stays(name)
                row |= {
                    **({"edits": edits_to_json(edits)} if stays else staged.add(found.data)),
                    "length": len(found.data),
                    "content": xxhash.xxh3_128_hexdigest(found.data),
                    "format": found.format,
                    "width": found.width,
                    "height": found.height,
                    "pixels": found.pixels.hex(),
                    "perceptual": found.perceptual.hex(),
                    "groups": json.dumps(found.groups),
                    "window": found.window,
                    "stripped": json.dumps(found.stripped),
                    "flags": json.dumps([asdict(flag) for flag in found.flags]),
                    "thumbnail": base64.b64encode(found.thumbnail).decode() if task.get("thumbnails") else None,
                    "known": [list(one) for one in found.known],
                }
                images.append(row)
    return {"images": images, "files": len(task["names"]), "failures": folder.failures - before}


@lru_cache(maxsize=8)
def open_cached(address: str, reading: str, follow_links: bool = False, unpacked: str = "") -> Folder:
    """Returns the folder, kept open for all tasks of one pass; the next pass may find other files there."""
    return Folder(address, follow_links, unpacked)


@cache
def code_version() -> str:
    """Returns a hash of this package's code and of the decoders' versions; other versions may give other results."""
    return digest([[installed_version(name) for name in DECODERS], code_of("hub_datasets")])


def code_of(room: str) -> str:
    """Returns a hash of the files in one of the project's folders."""
    root = Path(__file__).resolve().parents[2] / room
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return digest([hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in files])


def installed_version(package: str) -> str:
    """Returns the version of a package; empty if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def digest(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def remove_stale(root: str, stages: Iterable[Stage]) -> None:
    """Removes the stages below `root` that these builds no longer use, for their sources only."""
    keep = {stage.address.rsplit("/", 1)[-1] for stage in stages}
    names = {stage.source.name for stage in stages}
    for name in storage.names_in(root):
        source, _, key = name.rpartition("-")
        if name not in keep and source in names and re.fullmatch("[0-9a-f]{20}", key):
            storage.remove(storage.join(root, name))
