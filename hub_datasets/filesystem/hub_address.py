"""Pins a dataset of the Hub to a commit, so that all of a build reads one state of it: `hf://datasets/org/raw@<commit>`."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote

from hub_datasets.errors import BuildError, one_line

SCHEME = "hf://"
REPOSITORY = re.compile(
    r"hf://(?:(?P<kind>datasets|models|spaces)/)?(?!buckets/)(?P<name>[^/@:?#]+/[^/@:?#]+)"
    r"(?:@(?P<revision>[^/?#]+(?:/pr/[0-9]+)?))?(?P<path>/[^?#]*)?"
)
COMMIT = re.compile(r"[0-9a-f]{40}")
DATASET_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def pinned(address: str) -> str:
    """Returns an address of a repository of the Hub with its commit, and any other address unchanged.

    Raises BuildError if there is no such repository or revision, if it cannot be seen with this token, or if the Hub
    does not answer.
    """
    found = REPOSITORY.fullmatch(address)
    if found is None:
        return address
    revision = unquote(found["revision"] or "")
    if COMMIT.fullmatch(revision):
        return address
    commit = commit_of(address, f"{found['kind'] or 'models'}"[:-1], found["name"], revision)
    kind = f"{found['kind']}/" if found["kind"] else ""
    return f"{SCHEME}{kind}{found['name']}@{quote(commit, safe='')}{found['path'] or ''}"


def commit_of(address: str, kind: str, name: str, revision: str) -> str:
    """Returns the commit of a revision. Raises BuildError, which names the address and what to do."""
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub

    try:
        return HfApi().repo_info(name, repo_type=kind, revision=revision or None).sha
    except hub.GatedRepoError:
        message = f"the {kind} is gated; accept its conditions on its page, and set HF_TOKEN to a token of that account"
    except hub.RepositoryNotFoundError:
        message = (
            f"no such {kind} on the Hub, or it is private; for a private one set HF_TOKEN to a token that reads it"
        )
    except hub.RevisionNotFoundError:
        message = f"the {kind} has no revision {revision!r}; leave it out for the newest state"
    except hub.OfflineModeIsEnabled:
        message = "HF_HUB_OFFLINE is set; unset it, or give a folder that `hf download` wrote"
    except hub.HFValidationError as error:
        message = one_line(error)
    except Exception as error:  # the network: a dozen types of two libraries
        message = (
            f"the Hub does not answer ({type(error).__name__}); try again, or give a folder that `hf download` wrote"
        )
    raise BuildError(f"{address}: {message}")


def split_commit(address: str) -> tuple[str, str]:
    """Returns an address without its commit, and the commit; empty for an address that is not pinned."""
    found = REPOSITORY.fullmatch(address)
    if found is None or not COMMIT.fullmatch(found["revision"] or ""):
        return address, ""
    return address.replace(f"@{found['revision']}", "", 1), found["revision"]


def advice(address: str) -> str:
    """Returns how a dataset of the Hub is given, for a missing path that reads like an ID; else nothing.

    A path in a folder that exists is a slip in the name of a folder.
    """
    if not DATASET_ID.fullmatch(address) or Path(address).parent.exists():
        return ""
    return f"; a dataset of the Hub is given as {SCHEME}datasets/{address}"
