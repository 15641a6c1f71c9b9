"""Loads dataset splits, encoders and decoders by name; an error says what is wrong and what to do."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_cards.commands.console import CommandError
from model_cards.commands.environment_errors import environment_line, first_line
from model_cards.commands.names import is_path
from model_cards.hub.commit import PushError, check_writer
from model_cards.hub.weights import folder_weights, repository_weights
from model_cards.results import is_commit

if TYPE_CHECKING:
    import datasets

# The file by which a repository is recognized: of transformers, PEFT, open_clip or sentence-transformers.
CONFIGS = ("config.json", "adapter_config.json", "open_clip_config.json", "modules.json")
ENCODER_TYPES = ("siglip",)  # what can be trained
DECODER_TYPES = ("mllama",)
FOLDER_CACHES = "folders"  # in the cache of `datasets`: its copies of folders of this machine


# What the advice of a message names, if a dataset or a model cannot be opened.
DATASET = "a folder that `medpairs build` wrote, or a dataset repository that you can read"
MODEL = "a folder, or a repository on the Hub that you can read"


class InputError(CommandError):
    """A name, folder or flag that a command cannot use. The message names it and says what to do."""


class ConfigError(InputError):
    """A dataset has no configuration of a name.

    Args:
        message: the message.
        available: the configurations that it has.
    """

    def __init__(self, message: str, available: list[str]) -> None:
        super().__init__(message)
        self.available = available


def load_splits(dataset: str, config: str, splits: list[str], revision: str | None = None) -> dict[str, Any]:
    """Loads those of the given splits that exist.

    Args:
        dataset: a folder that `medpairs build` wrote, or a repository on the Hub.
        config: `pairs` or `chat`.
        splits: names of splits.
        revision: commit, branch or tag of a repository.

    Returns:
        a `datasets.Dataset` per split, by name.

    Raises:
        ConfigError: the dataset has no such configuration.
        InputError: the dataset cannot be read, or has none of the splits.
    """
    from datasets import load_dataset

    check_dataset(dataset)
    cache = cache_of(Path(dataset)) if Path(dataset).is_dir() else None
    try:
        found: datasets.DatasetDict = load_dataset(dataset, config, revision=revision, cache_dir=cache)
    except Exception as error:  # a missing repository, file, config or network: each raises its own type
        if found_configs := re.search(r"BuilderConfig '.*' not found. Available: \[(.*)\]", str(error)):
            available = found_configs[1].replace("'", "")
            raise ConfigError(
                f"--dataset {dataset}: no config {config!r}; it has {available}. Build a dataset with this config with "
                "`medpairs build`.",
                available.split(", "),
            ) from None
        problem = problem_of(error, DATASET, dataset)
        raise InputError(f"--dataset {dataset}, config {config}: {problem}") from None
    chosen = {split: found[split] for split in splits if split in found}
    if not chosen:
        raise InputError(
            f"--dataset {dataset}, config {config}: no split {' or '.join(splits)}; it has {', '.join(found)}"
        )
    return chosen


def check_dataset(dataset: str) -> None:
    """Raises InputError for a name that is neither an existing folder nor a possible repository on the Hub."""
    if is_missing_path(dataset) or ("/" not in dataset and not Path(dataset).exists()):
        name = printable_name(dataset)
        raise InputError(
            f"--dataset {name}: no such folder. Build a dataset with `medpairs build --output_dir {name}`, or name a "
            "dataset repository on the Hub as ORG/NAME."
        )


def check_model(model: str, flag: str = "--model") -> None:
    """Raises InputError for a name that is neither an existing folder nor a possible repository on the Hub.

    Args:
        model: a folder or a repository.
        flag: the flag that names the model, for the message.
    """
    if is_missing_path(model):
        name = printable_name(model)
        raise InputError(
            f"{flag} {name}: no such folder. Train a model with `medpairs train-encoder --output_dir {name}` or "
            "`medpairs train-decoder`, or name a repository on the Hub as ORG/NAME."
        )


def is_missing_path(name: str) -> bool:
    """Returns whether a name is a path that does not exist."""
    return is_path(name) and not (name and Path(name).exists())


def printable_name(name: str) -> str:
    """Returns a name for messages; a URL is reduced to its scheme, because the rest may contain a password or token."""
    scheme, separator, _ = name.partition("://")
    return f"{scheme}{separator}..." if separator else name or "''"


def print_source(kind: str, name: str, commit: str) -> None:
    """Prints which commit of a repository on the Hub is read; for a folder, which has no commit, it prints nothing.

    Args:
        kind: `dataset` or `model`.
        name: the repository.
        commit: its commit, or any other text for a folder.
    """
    if is_commit(commit):
        print(f"{kind} {name} at commit {commit[:8]} (Hub)", flush=True)


def cache_of(folder: Path) -> str:
    """Returns the cache folder of `datasets` for a dataset folder, which is a different one after any file changes.

    By default, `datasets` distinguishes folders by their last name and their card only. It would return the rows of an
    earlier build, or of another folder, if these two are the same.
    """
    from datasets import config

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    state = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest = hashlib.blake2b(json.dumps(state).encode(), digest_size=16).hexdigest()
    return str(Path(config.HF_DATASETS_CACHE) / FOLDER_CACHES / digest)


def dataset_revision(dataset: str, revision: str | None = None) -> str:
    """Returns the commit of a dataset on the Hub or the fingerprint of a local build; "" if neither is known.

    Raises:
        InputError: the Hub does not answer or has no such dataset, or `report.json` was not written by a build.
    """
    report = Path(dataset) / "report.json"
    if report.is_file():
        try:
            return str(json.loads(report.read_text(encoding="utf-8"))["fingerprint"])
        except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError):
            raise InputError(
                f"--dataset {dataset}: {report} is not the report of a build. Build the dataset again with `medpairs "
                "build`."
            ) from None
    check_dataset(dataset)
    if Path(dataset).exists():
        return ""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(dataset, revision=revision).sha or ""
    except Exception as error:  # a missing repository, a bad name, no network: each raises its own type
        raise InputError(f"--dataset {dataset}: {problem_of(error, DATASET, dataset)}") from None


def load_model_and_processor(
    model: str,
    model_class: type,
    revision: str | None = None,
    processor_class: type | None = None,
    processor_settings: dict[str, Any] | None = None,
    **settings: Any,
) -> tuple[Any, Any]:
    """Loads a model and its processor, from safetensors only and without running code of the repository.

    Args:
        model: a folder or a repository on the Hub.
        model_class: a class with `from_pretrained`.
        revision: commit, branch or tag of the repository.
        processor_class: class of the processor (default: AutoProcessor).
        processor_settings: additional arguments of the processor's `from_pretrained`.
        settings: additional arguments of the model's `from_pretrained`.

    Raises:
        InputError: the model or the processor cannot be loaded, or a weight is missing or unexpected.
    """
    from transformers import AutoProcessor

    try:
        loaded, info = model_class.from_pretrained(
            model,
            revision=revision,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **settings,
        )
    except Exception as error:  # gated, missing, no network, broken files: each raises its own type
        raise InputError(f"{model}: {load_advice(model, error)}") from None
    check_loading_info(model, info)
    processor_class = processor_class or AutoProcessor
    try:
        processor = processor_class.from_pretrained(
            model, revision=revision, trust_remote_code=False, **(processor_settings or {})
        )
    except Exception as error:  # as above
        raise InputError(f"{model}: the processor cannot be loaded: {load_advice(model, error)}") from None
    return loaded, processor


def check_loading_info(model: str, info: dict) -> None:
    """Raises InputError if the weights of the model and those of the checkpoint are not the same ones."""
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, info.get(problem) or ())):
            raise InputError(
                f"{model}: {len(keys)} {problem.replace('_', ' ')} in the checkpoint, for example {keys[0]}. Save the "
                "complete model with save_pretrained."
            )


def load_advice(model: str, error: Exception) -> str:
    """Describes in one line why a model could not be loaded and what to do."""
    from huggingface_hub.errors import GatedRepoError

    if isinstance(error, GatedRepoError) or isinstance(error.__cause__, GatedRepoError):
        return "the repository is gated; accept its license on the Hub and log in with `hf auth login`"
    return problem_of(error, MODEL, model)


def problem_of(error: Exception, what: str, name: str) -> str:
    """Describes an error in one line: a problem of the environment, or of the name and what to give instead."""
    return environment_line(error) or first_line(error) + advice(what, name)


def advice(what: str, name: str) -> str:
    """Says what to give instead of a name that could not be opened; nothing for a folder, which exists."""
    return "" if Path(name).is_dir() else f"; give {what}"


def model_type(model: str, revision: str | None = None) -> str:
    """Returns the `model_type` of the checkpoint's configuration; raises InputError if it cannot be read."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False).model_type
    except Exception as error:  # as above
        raise InputError(f"{model}: {load_advice(model, error)}") from None


def model_revision(model: str, revision: str | None = None, flag: str = "--model") -> str:
    """Returns the commit of a model on the Hub, "" for a folder; without a connection, the commit of the cached copy.

    Args:
        model: a folder or a repository.
        revision: commit, branch or tag of the repository.
        flag: the flag that names the model, for the message.

    Raises:
        InputError: there is no such folder, or the model cannot be downloaded.
    """
    check_model(model, flag)
    if Path(model).exists():
        return ""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    problem: Exception | None = None
    for name in CONFIGS:
        try:  # the download also caches the commit of the branch or tag, for a later run without a connection
            return Path(hf_hub_download(model, name, revision=revision)).parent.name  # snapshots/<commit>/
        except (EntryNotFoundError, LocalEntryNotFoundError) as error:  # another file may be in the repository or cache
            problem = problem or error
        except Exception as error:  # missing, gated, no network: each raises its own type
            raise InputError(f"{model}: {load_advice(model, error)}") from None
    raise InputError(f"{model}: {load_advice(model, problem)}") from problem


def check_token(token: str | None) -> str:
    """Returns the name of the user of a token, after checking that the token allows writing.

    Args:
        token: the token (default: that of `hf auth login` or HF_TOKEN).

    Raises:
        InputError: there is no token, the Hub does not know it, or it has read access only.
    """
    try:
        return check_writer(token)
    except PushError as error:
        raise InputError(f"--push_to_hub: {error}") from None


def weights_of(model: str, revision: str | None = None) -> str:
    """Returns the digest of a model's weights, in a folder or on the Hub; without a connection, of the cached copy.

    Raises:
        InputError: the Hub does not answer, and there is no copy in the cache.
    """
    if Path(model).is_dir():
        return folder_weights(Path(model))
    from huggingface_hub import HfApi

    try:
        return repository_weights(HfApi(), model, revision)
    except Exception as error:  # as above
        if digest := cached_weights(model, revision):
            return digest
        raise InputError(f"--model {model}: {environment_line(error) or first_line(error)}") from None


def cached_weights(model: str, revision: str | None) -> str:
    """Returns the digest of the cached weights of a repository; "" if they are not in the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return folder_weights(Path(snapshot_download(model, revision=revision, local_files_only=True)))
    except LocalEntryNotFoundError:
        return ""
