"""One pass over one source: every record checked, every image read once, decoded once, hashed, cleaned and kept.

The result, a stage, is a folder with a catalogue and the images' bytes. It is kept beside the output, and used again
as long as the source's files, the settings and this code are the same: then nothing of the source is read but the list
of its files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import xxhash

from hub_datasets import storage
from hub_datasets.catalogue import Catalogue
from hub_datasets.engines import Engine
from hub_datasets.folder import Folder, FolderError
from hub_datasets.schema import SYNTHETIC_MARK, BuildError, Flag, Ignored, Problem, Rejection, Source
from hub_datasets.validation import ImageSettings, TextSettings, check_text, check_writable, examine_image

IMAGES_PER_TASK = 32  # small enough to keep every worker busy to the end, large enough that a task's start is no cost
MANIFEST = "stage.json"
CATALOGUE = "catalogue.sqlite"


@dataclass(frozen=True, slots=True)
class Stage:
    """A source that was read.

    Attributes:
        address: of the stage's folder; image files are named relative to it.
        key: changes with the source's files, the settings and the code.
        catalogue: the catalogue's file on this machine.
        reused: whether an earlier build had read it.
        synthetic: whether this project drew the images.
    """

    source: Source
    folder: Folder
    address: str
    key: str
    catalogue: Path
    reused: bool
    synthetic: bool


def stage_keys(folders: Iterable[tuple[Source, Folder]], images: ImageSettings, texts: TextSettings) -> dict[str, str]:
    """Names everything that the stage of each source depends on, 20 hexadecimal digits each."""
    common = [asdict(images), asdict(texts), code_version()]
    return {source.name: digest([source.name, folder.state(), *common])[:20] for source, folder in folders}


def stage(
    source: Source,
    folder: Folder,
    key: str,
    images: ImageSettings,
    texts: TextSettings,
    engine: Engine,
    root: str,
    scratch: Path,
) -> Stage:
    """Reads a source into a folder below `root`, or finds it there as it would come out.

    Args:
        key: of `stage_keys`.
        root: path or fsspec address; the engine's workers write to it.
        scratch: a folder on this machine, for catalogues of a remote `root`.
    """
    address = storage.join(root, f"{source.name}-{key}")
    synthetic = folder.has(SYNTHETIC_MARK)
    remote = storage.is_remote(root)
    catalogue = scratch / f"{source.name}.sqlite" if remote else storage.local_path(address) / CATALOGUE
    if is_whole(address):
        if remote:
            with storage.open_file(storage.join(address, CATALOGUE), "rb") as there, catalogue.open("wb") as here:
                shutil.copyfileobj(there, here)
        return Stage(source, folder, address, key, catalogue, reused=True, synthetic=synthetic)

    storage.remove(address)  # what a killed build left
    try:
        read_records(source, folder, texts, catalogue)
        examine_images(source, folder, key, images, engine, catalogue, address)
        if stage_keys([(source, folder)], images, texts)[source.name] != key:
            raise BuildError(f"{source.flag} {folder.address}: files changed while they were read; run again")
        if remote:
            with catalogue.open("rb") as here, storage.open_file(storage.join(address, CATALOGUE), "wb") as there:
                shutil.copyfileobj(here, there)
        content = {"source": source.name, "key": key, "files": storage.sizes_in(address)}
        with storage.open_file(storage.join(address, MANIFEST), "wb") as file:  # last: now the stage is whole
            file.write(json.dumps(content, indent=1).encode())
    except BaseException:
        storage.remove(address)
        raise
    return Stage(source, folder, address, key, catalogue, reused=False, synthetic=synthetic)


def is_whole(address: str) -> bool:
    """True where a stage lies with every file that it was written with."""
    sizes = storage.sizes_in(address)
    if sizes.pop(MANIFEST, None) is None:
        return False
    try:
        return json.loads(storage.read(storage.join(address, MANIFEST)))["files"] == sizes
    except (ValueError, KeyError, TypeError):
        return False


def read_records(source: Source, folder: Folder, texts: TextSettings, path: Path) -> None:
    """Reads a source to its end and checks everything but the images."""
    from tqdm import tqdm

    from hub_datasets.privacy import find_identifiers

    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    catalogue = Catalogue(path, "create")
    for record in tqdm(source.read(folder), desc=f"{source.name}: records", unit="", disable=None):
        if isinstance(record, Ignored):
            catalogue.ignore(record)
        elif isinstance(record, Rejection):
            catalogue.reject(record.item, record.code, record.message)
        elif problem := check_writable(record) or check_text(record, texts.min_chars, texts.max_chars):
            catalogue.reject(record.item, problem.code, problem.message)
        else:
            said = filter(None, (record.text, record.question, record.answer))
            catalogue.add(record, [flag for text in said for flag in (*find_identifiers(text), *find_tokens(text))])
    catalogue.close()


def find_tokens(text: str) -> list[Flag]:
    """Words that Llama's tokenizer takes for control tokens: some trainers stop at them, others obey."""
    place = text.find("<|")
    return [Flag("control_token", f"at character {place + 1}")] if place >= 0 else []


def examine_images(
    source: Source,
    folder: Folder,
    key: str,
    settings: ImageSettings,
    engine: Engine,
    path: Path,
    address: str,
) -> None:
    """Examines every image that a usable record names, and writes their bytes below `address`."""
    from tqdm import tqdm

    catalogue = Catalogue(path, "change")
    total = catalogue.count_images()
    common = {"folder": storage.absolute(folder.address), "key": key, "settings": asdict(settings)}
    tasks = (
        {**common, "names": names, "target": storage.join(address, f"images-{number:06d}.bin")}
        for number, names in enumerate(batches(catalogue.image_names(), IMAGES_PER_TASK))
    )
    with tqdm(total=total, desc=f"{source.name}: images", unit="", disable=None) as progress:
        for result in engine.map(examine_batch, tasks):
            catalogue.add_images(result["images"])
            progress.update(len(result["images"]))
    catalogue.finish()


def batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """The items in lists of at most `size`."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def examine_batch(task: dict[str, Any]) -> dict[str, Any]:
    """A worker's task: reads and examines some images of a source, and writes what is to be published to one file."""
    folder = opened(task["folder"], task["key"])
    settings = ImageSettings(**task["settings"])
    file = task["target"].rsplit("/", 1)[-1]
    images, offset = [], 0
    with storage.open_file(task["target"], "wb") as output:
        for name in task["names"]:
            try:
                found = examine_image(folder.read(name), name, settings)
            except FolderError as error:
                found = Problem(error.code, error.message)
            if isinstance(found, Problem):
                images.append({"name": name, "code": str(found.code), "message": found.message})
                continue
            output.write(found.data)
            images.append(
                {
                    "name": name,
                    "file": file,
                    "offset": offset,
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
                }
            )
            offset += len(found.data)
    return {"images": images}


@lru_cache(maxsize=8)
def opened(address: str, key: str) -> Folder:
    """The folder, kept open from task to task as long as it has not changed."""
    return Folder(address)


@cache
def code_version() -> str:
    """A hash of this folder's code and of the libraries that decode: another version may find other things."""
    import PIL

    files = sorted(Path(__file__).parent.rglob("*.py"))
    code = [hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in files]
    return digest([PIL.__version__, *code])


def digest(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def remove_stale(root: str, stages: Iterable[Stage]) -> None:
    """Removes the stages below `root` that none of these builds uses any more, of these sources only."""
    keep = {stage.address.rsplit("/", 1)[-1] for stage in stages}
    names = {stage.source.name for stage in stages}
    for name in storage.names_in(root):
        if name not in keep and name.rpartition("-")[0] in names:
            storage.remove(storage.join(root, name))


def bytes_of(stage: Stage, image: dict[str, Any]) -> bytes:
    """The published bytes of one image of a catalogue."""
    return storage.read_range(storage.join(stage.address, image["file"]), image["offset"], image["length"])
