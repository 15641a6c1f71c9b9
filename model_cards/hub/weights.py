"""Computes one digest of the weights in a folder or repository, so that a result can name what it was measured on.

The commit of a repository cannot serve for this: every push makes a new one, also the push of a result.
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
    """Returns the files from which `from_pretrained` loads the weights.

    They are selected in the order in which transformers looks for them: adapters, then a single file, then shards.

    Args:
        names: the files at the root of a folder or repository.
    """
    names = set(names)
    if ADAPTER_CONFIG in names:
        return [ADAPTERS] if ADAPTERS in names else []
    if MODEL in names:
        return [MODEL]
    return sorted(name for name in names if SHARD.fullmatch(name))


def weights_digest(hashes: Mapping[str, str]) -> str:
    """Computes the digest of weights from the SHA-256 of each file, by name; "" if there are no files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest() if lines else ""


def folder_weights(folder: Path) -> str:
    """Computes the digest of the weights in a folder, which reads all their bytes."""
    names = weight_names(path.name for path in folder.iterdir())
    return weights_digest({name: file_sha256(folder / name) for name in names})


def file_sha256(path: Path) -> str:
    """Computes the SHA-256 of a file, which is also the hash of large files on the Hub."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def repository_weights(api: HfApi, repo_id: str, revision: str | None = None) -> str:
    """Computes the digest of the weights in a model repository from the hashes on the Hub, without large downloads.

    Raises the errors of `huggingface_hub` if the Hub does not answer or has no such revision.
    """
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repo_id, revision=revision)
    files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    hashes = {}
    for name in weight_names(files):
        lfs = files[name].lfs
        # A file without LFS has only Git's hash, which is a different one. Such files are small and are downloaded.
        hashes[name] = lfs.sha256 if lfs else file_sha256(Path(api.hf_hub_download(repo_id, name, revision=revision)))
    return weights_digest(hashes)
