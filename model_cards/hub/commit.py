"""Pushes to the Hub in one commit on a known parent, and starts again if another commit came first.

1. Open the repository, or create it (private by default); read the file list of its newest commit.
2. Ask the caller for the `Change`: which files to write, and which files of an earlier push to remove.
3. Commit both at once on that parent. If the branch has moved (HTTP 412), start again at 1.

A repository therefore always contains the result of one push, never a mixture of two. Calls that `huggingface_hub` does
not retry itself are retried while the Hub is overloaded (429, 5xx), after the time that it asks for.
"""

from __future__ import annotations

import email.utils
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_cards.commands.console import CommandError
from model_cards.commands.environment_errors import BUSY, environment_line, first_line, hide_queries, response_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

DECISIONS = 5  # maximum number of times that a push is prepared, if the branch keeps moving
ATTEMPTS = 6  # maximum number of attempts of one call, if the Hub is overloaded
LONGEST_WAIT = 300  # seconds, because the Hub counts requests in windows of five minutes
OVERTAKEN = (409, 412)
# The requests that huggingface_hub 2.4 retries itself with `http_backoff`; its other calls fail at the first error.
REPEATED_BY_CLIENT = re.compile(r"/api/[a-z]+/[^/]+/[^/]+/(preupload|tree)/|\.git/info/lfs/|^/lfs/")


class PushError(CommandError):
    """A push that failed because of the Hub or of an existing file; the message is one line."""


@dataclass(frozen=True)
class Head:
    """The newest commit of a repository.

    Attributes:
        api: the client.
        repo_id: `namespace/name`.
        repo_type: `model`, `dataset` or `space`.
        commit: the id of the commit.
        files: the metadata of each file (size, Git and LFS hashes), by path.
        private: whether only its owners can read the repository.
        created: whether this push created the repository; its files were then written by the Hub.
    """

    api: HfApi
    repo_id: str
    repo_type: str
    commit: str
    files: Mapping[str, RepoFile]
    private: bool
    created: bool

    def text(self, path: str) -> str | None:
        """Returns the content of a text file, None if it does not exist. Raises PushError if it is not UTF-8."""
        if path not in self.files:
            return None
        where = {"repo_type": self.repo_type, "revision": self.commit}
        with refusals():
            file = patiently(lambda: self.api.hf_hub_download(self.repo_id, path, **where))
        try:
            return Path(file).read_bytes().decode("utf-8")  # not read_text, which changes line endings
        except UnicodeDecodeError:
            raise PushError(f"{path} in the repository is not UTF-8 text; correct it there") from None


@dataclass
class Change:
    """The content of a commit.

    Attributes:
        files: what to write, by path in the repository: the path of a local file, or the content itself.
        removed: paths to remove.
        notes: lines to print after the commit.
    """

    files: dict[str, Path | bytes] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pushed:
    """The result of a push: the URLs of the repository, of the commit, and of the pull request if there is one."""

    repository: str
    commit: str
    pull_request: str | None = None


def push(
    repo_id: str,
    repo_type: str,
    decide: Callable[[Head], Change],
    message: str,
    *,
    public: bool = False,
    token: str | None = None,
    create: bool = True,
    create_pr: bool = False,
    space_sdk: str | None = None,
) -> Pushed:
    """Commits the change that `decide` returns for the newest commit.

    Args:
        repo_id: `namespace/name`, or a name alone for the namespace of the token's owner.
        repo_type: `model`, `dataset` or `space`.
        decide: called with the newest commit, and again with a newer one if another commit came first.
        message: the message of the commit.
        public: create a public repository, and allow a push to a public one; otherwise a public one is refused.
        token: the token to use (default: that of `hf auth login` or HF_TOKEN).
        create: create the repository if it does not exist.
        create_pr: open a pull request with the commit.
        space_sdk: the SDK of a new Space.

    Raises:
        PushError: the Hub refuses the push or does not answer, or the repository is public. Errors of `decide` are
            passed on.
    """
    from huggingface_hub import HfApi

    logging.getLogger("huggingface_hub.utils._http").addFilter(without_queries)
    api = HfApi(token=token)
    for decision in range(1, DECISIONS + 1):
        with refusals():
            head = open_head(api, repo_id, repo_type, public, create, space_sdk)
        change = decide(head)
        with refusals():
            commit = try_commit(head, change, message, create_pr, last=decision == DECISIONS)
        if commit is not None:
            if public and head.private:
                change.notes.append(f"{head.repo_id} is private and stays private. Make it public in its settings.")
            print("".join(f"{note}\n" for note in change.notes), end="", flush=True)
            folder = "" if repo_type == "model" else f"{repo_type}s/"
            return Pushed(f"{api.endpoint}/{folder}{head.repo_id}", commit.commit_url, commit.pr_url)
        print(f"{head.repo_id} has a new commit by another user: preparing the push again", flush=True)
    raise AssertionError("the last decision returns or raises")


def check_writer(token: str | None = None) -> str:
    """Returns the name of the user of a token, after checking that the token allows writing.

    Args:
        token: the token (default: that of `hf auth login` or HF_TOKEN).

    Raises:
        PushError: there is no token, the Hub does not know it, or it has read access only.
    """
    from huggingface_hub import HfApi

    try:
        with refusals():
            user = patiently(lambda: HfApi(token=token).whoami(cache=False))
    except PushError as error:
        advice = "" if environment_line(error) else "; log in with `hf auth login`"
        raise PushError(f"{error}{advice}") from error
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise PushError("the token is read-only; log in with a write token: `hf auth login`")
    return user["name"]


def check_public(repo_id: str, repo_type: str, public: bool, token: str | None = None) -> None:
    """Raises PushError if a push would be refused because the repository is public; it need not exist."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    if public:
        return
    api = HfApi(token=token)
    with refusals():
        name = full_name(api, repo_id)
        try:
            info = patiently(lambda: api.repo_info(name, repo_type=repo_type))
        except RepositoryNotFoundError:
            return
    refuse_public(info)


def full_name(api: HfApi, repo_id: str) -> str:
    """Returns `namespace/name`, because a name alone could refer to a model of another owner."""
    return repo_id if "/" in repo_id else f"{patiently(api.whoami)['name']}/{repo_id}"


def open_head(api: HfApi, repo_id: str, repo_type: str, public: bool, create: bool, space_sdk: str | None) -> Head:
    """Returns the newest commit of a repository, and creates the repository if it is missing and `create` is set."""
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    name, created = full_name(api, repo_id), False
    try:
        info = patiently(lambda: api.repo_info(name, repo_type=repo_type))
    except RepositoryNotFoundError:
        if not create:
            raise
        settings = {"private": not public, "exist_ok": True, "space_sdk": space_sdk}
        patiently(lambda: api.create_repo(name, repo_type=repo_type, **settings))
        info, created = patiently(lambda: api.repo_info(name, repo_type=repo_type)), True
    if not public:
        refuse_public(info)
    tree = api.list_repo_tree(info.id, repo_type=repo_type, revision=info.sha, recursive=True)
    files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    return Head(api, info.id, repo_type, info.sha, files, info.private, created)


def refuse_public(info: Any) -> None:
    """Raises PushError for a public repository."""
    if not info.private:
        raise PushError("the repository is public; add --public to push to it")


def try_commit(head: Head, change: Change, message: str, create_pr: bool, last: bool) -> Any:
    """Commits the change; returns a `CommitInfo`, or None if the branch has moved, an error at the last try."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    operations: list[Any] = [CommitOperationDelete(path, is_folder=False) for path in sorted(set(change.removed))]
    operations += [CommitOperationAdd(path, content) for path, content in sorted(change.files.items())]

    def commit() -> Any:
        # A retry after a lost answer cannot commit twice, because the parent is then no longer the newest commit.
        where = {"repo_type": head.repo_type, "parent_commit": head.commit, "create_pr": create_pr}
        return head.api.create_commit(head.repo_id, operations, commit_message=message, **where)

    try:
        # For a pull request this does not hold, so it is retried only after answers that mean that nothing was done.
        return patiently(commit, (429, 503) if create_pr else BUSY)
    except HfHubHTTPError as error:
        if last or error.response.status_code not in OVERTAKEN:
            raise
        return None


def matching(names: Iterable[str], pattern: re.Pattern[str], but: Collection[str] = ()) -> list[str]:
    """Returns the names that a pattern matches completely, except those in `but`."""
    return sorted(name for name in names if pattern.fullmatch(name) and name not in but)


# --- a busy Hub ---


def patiently(call: Callable[[], Any], statuses: Collection[int] = BUSY) -> Any:
    """Calls a function, and retries while the Hub is overloaded, after the time that it asks for or 1, 2, 4, ... s."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except Exception as error:
            wait, status = 2.0 ** (attempt - 1), "with invalid JSON"  # from gateways while the Hub is down
            if not isinstance(error, json.JSONDecodeError):
                response = response_of(error)
                if response is None or response.status_code not in statuses or is_repeated(response.request):
                    raise
                wait = asked_to_wait(response, wait)
                status = f"{response.status_code} {response.reason_phrase}".strip()
            if attempt == ATTEMPTS:
                raise
            if wait > LONGEST_WAIT:
                raise PushError(f"the Hub answers {status} and asks to wait {wait:.0f} s; try again later") from error
        print(f"The Hub answers {status}: trying again in {wait:.3g} s ({attempt} of {ATTEMPTS - 1})", flush=True)
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def is_repeated(request: Any) -> bool:
    """Returns whether `huggingface_hub` has already retried a request."""
    return request.method == "PUT" or REPEATED_BY_CLIENT.search(request.url.path) is not None


def asked_to_wait(response: Any, otherwise: float) -> float:
    """Returns the seconds that the Hub asks to wait, from `Retry-After` (seconds or a date) or `RateLimit`.

    Args:
        response: the answer of the Hub.
        otherwise: the result if the answer names no time.
    """
    from huggingface_hub.utils import parse_ratelimit_headers

    asked = response.headers.get("retry-after", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:  # not a date
        limit = parse_ratelimit_headers(response.headers)
        return float(limit.reset_in_seconds) if limit and limit.remaining == 0 else otherwise


# --- messages ---


@contextmanager
def refusals() -> Iterator[None]:
    """Converts errors of the Hub and the network to a PushError of one line."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (HTTPError, OSError, RuntimeError, json.JSONDecodeError) as error:
        # OSError: no token, or offline mode. RuntimeError: the upload of a large file was interrupted.
        raise PushError(environment_line(error) or first_line(error)) from error
    except ValueError as error:  # front matter that the Hub refuses, or an invalid name
        raise PushError(" ".join(str(error).split())) from error


def without_queries(record: logging.LogRecord) -> bool:
    """A filter for the log of `huggingface_hub`, which would print the URLs of uploads with their signatures."""
    record.msg, record.args = hide_queries(record.getMessage()), ()
    return True
