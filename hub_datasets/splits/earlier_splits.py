"""Finds the earlier build whose splits are kept where `--keep_splits` names a dataset on the Hub."""

from __future__ import annotations

import re

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage

HUB_NAME = re.compile(r"([\w][\w.-]*/[\w][\w.-]*)(?:@([\w./-]+))?", re.ASCII)


def is_hub_name(address: str) -> bool:
    """Returns whether an address is `ORG/NAME` or `ORG/NAME@REVISION`, and not an existing folder."""
    found = not storage.is_remote(address) and HUB_NAME.fullmatch(address)
    return bool(found) and not storage.local_path(address).exists()


def pinned_address(name: str) -> str:
    """Returns the address of a dataset repository on the Hub at its present commit.

    Args:
        name: `ORG/NAME`, or `ORG/NAME@REVISION` for a branch, a tag or a commit.

    Raises:
        BuildError: the Hub cannot be asked, or does not show this repository or revision to this user.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError

    from model_cards.commands.environment_errors import environment_line, first_line

    repository, revision = HUB_NAME.fullmatch(name).groups()
    try:
        commit = HfApi().dataset_info(repository, revision=revision).sha
    except RevisionNotFoundError as error:
        raise BuildError(f"--keep_splits {name}: this dataset has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:  # the Hub says the same of a private one (401) and of none (404)
        raise BuildError(
            f"--keep_splits {name}: neither a folder on this machine nor a dataset on the Hub that you can read; check "
            "the name, and for a private dataset log in with `hf auth login`"
        ) from error
    except (HTTPError, OSError, ValueError) as error:
        raise BuildError(f"--keep_splits {name}: {environment_line(error) or first_line(error)}") from error
    return f"hf://datasets/{repository}@{commit}"
