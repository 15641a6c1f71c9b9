"""Names the weights in a folder or repository by one digest, so that a result can say what it was measured on.

The commit of a repository cannot: every push, of a result too, makes a new one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ADAPTER_CONFIG, ADAPTERS, MODEL = "adapter_config.json", "adapter_model.safetensors", "model.safetensors"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


def weight_names(names: Iterable[str]) -> list[str]:
    """The files that `from_pretrained` takes the weights from, of the files at the root of a folder or repository.

    In the order in which transformers looks for them: adapters, then one file, then shards.
    """
    names = set(names)
    if ADAPTER_CONFIG in names:
        return [ADAPTERS] if ADAPTERS in names else []
    if MODEL in names:
        return [MODEL]
    return sorted(name for name in names if SHARD.fullmatch(name))


def weights_digest(hashes: Mapping[str, str]) -> str:
    """The digest of weights by the SHA-256 of each of their files; "" where there are none."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest() if lines else ""


def folder_weights(folder: Path) -> str:
    """The digest of the weights in a folder; reads all of their bytes."""
    names = weight_names(path.name for path in folder.iterdir())
    return weights_digest({name: file_sha256(folder / name) for name in names})


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, by which the Hub names large files too."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def repository_weights(api: HfApi, repo_id: str, revision: str | None = None) -> str:
    """The digest of the weights in a model repository; the Hub knows the hashes, so that nothing large is downloaded.

    Raises the errors of `huggingface_hub` where the Hub does not answer, or has no such revision.
    """
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repo_id, revision=revision)
    files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    hashes = {}
    for name in weight_names(files):
        lfs = files[name].lfs
        # without LFS the Hub names a file by git's hash, which is another one; such a file is small
        hashes[name] = lfs.sha256 if lfs else file_sha256(Path(api.hf_hub_download(repo_id, name, revision=revision)))
    return weights_digest(hashes)
