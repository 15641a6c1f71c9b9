"""The one way to the Hub: a push is one commit on a given parent, and is decided again where somebody else was faster.

1. Open the repository, or create it, private unless told otherwise; read the list of files of its newest commit.
2. Ask the caller what to do about those files (`Change`): what to write, and which files of an earlier push to remove.
3. Commit both at once, on that parent. If the branch has moved (HTTP 412), start again at 1.

So a repository always holds what one push left, never a mixture of two. The calls that `huggingface_hub` makes without
retrying are repeated while the Hub is overloaded (429, 5xx), after the time that it asks for.
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

DECISIONS = 5  # at most, of one push whose branch keeps moving
ATTEMPTS = 6  # at most, of one call that the Hub is too busy to answer
LONGEST_WAIT = 300  # seconds; the Hub counts requests in windows of five minutes
OVERTAKEN = (409, 412)
# What huggingface_hub 2.4 repeats by itself, by `http_backoff`; its other calls end at the first refusal.
REPEATED_BY_CLIENT = re.compile(r"/api/[a-z]+/[^/]+/[^/]+/(preupload|tree)/|\.git/info/lfs/|^/lfs/")


class PushError(CommandError):
    """A push that the Hub, or a file that is there, does not allow: one line that says what is wrong."""


@dataclass(frozen=True)
class Head:
    """The newest commit of a repository.

    Attributes:
        repo_id: `namespace/name`.
        commit: its id.
        files: what the Hub says of each file (size, Git and LFS hashes), by path.
        private: only its owners can read it.
        created: this push made the repository: whatever it holds is the Hub's own.
    """

    api: HfApi
    repo_id: str
    repo_type: str
    commit: str
    files: Mapping[str, RepoFile]
    private: bool
    created: bool

    def text(self, path: str) -> str | None:
        """The content of a text file; None where there is no such file.

        Raises PushError where it is not UTF-8.
        """
        if path not in self.files:
            return None
        where = {"repo_type": self.repo_type, "revision": self.commit}
        with refusals():
            file = patiently(lambda: self.api.hf_hub_download(self.repo_id, path, **where))
        try:
            return Path(file).read_bytes().decode("utf-8")  # not read_text, which changes the ends of lines
        except UnicodeDecodeError:
            raise PushError(f"{path} in the repository is not UTF-8 text; correct it there") from None


@dataclass
class Change:
    """What a commit does.

    Attributes:
        files: what to write, by path in the repository: a file of this machine, or the content itself.
        removed: paths to remove.
        notes: lines to print when it is done.
    """

    files: dict[str, Path | bytes] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pushed:
    """Where a push went: the addresses of the repository, of its commit, and of the pull request if there is one."""

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
    """Makes one commit of what `decide` says about the newest commit.

    Args:
        repo_id: `namespace/name`, or a name alone for the namespace of the token's owner.
        repo_type: `model`, `dataset` or `space`.
        decide: called with the newest commit, and again with a newer one where somebody else has committed meanwhile.
        message: of the commit.
        public: make a new repository public, and write to one that is; without it such a repository is refused.
        create: make the repository where there is none.
        create_pr: open a pull request with the commit.

    Raises:
        PushError: the Hub refuses or does not answer, or the repository is public. Errors of `decide` pass through.
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
                change.notes.append(f"{head.repo_id} is private and stays so; its settings on the Hub can change that")
            print("".join(f"{note}\n" for note in change.notes), end="", flush=True)
            folder = "" if repo_type == "model" else f"{repo_type}s/"
            return Pushed(f"{api.endpoint}/{folder}{head.repo_id}", commit.commit_url, commit.pr_url)
        print(f"{head.repo_id} has a new commit by somebody else: deciding again what to push", flush=True)
    raise AssertionError("the last decision returns or raises")


def check_writer(token: str | None = None) -> str:
    """The name of the user that the Hub knows by a token. Changes nothing there.

    Args:
        token: None for the one that `hf auth login` or HF_TOKEN left.

    Raises PushError where there is no token, the Hub does not know it, or it may only read.
    """
    from huggingface_hub import HfApi

    try:
        with refusals():
            user = patiently(lambda: HfApi(token=token).whoami(cache=False))
    except PushError as error:
        advice = "" if environment_line(error) else "; log in with `hf auth login`"
        raise PushError(f"{error}{advice}") from error
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise PushError("the token may only read; log in with one that may write: `hf auth login`")
    return user["name"]


def check_public(repo_id: str, repo_type: str, public: bool, token: str | None = None) -> None:
    """Raises PushError where a push would be refused because the repository is public; one that is missing is fine."""
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
    """`namespace/name`: on the Hub, a name alone may be that of somebody else's model."""
    return repo_id if "/" in repo_id else f"{patiently(api.whoami)['name']}/{repo_id}"


def open_head(api: HfApi, repo_id: str, repo_type: str, public: bool, create: bool, space_sdk: str | None) -> Head:
    """The newest commit of a repository, which is made where it is missing."""
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
        raise PushError("the repository is public; add --public if that is meant")


def try_commit(head: Head, change: Change, message: str, create_pr: bool, last: bool) -> Any:
    """The commit, a `CommitInfo`; None where the branch has moved, which is an error at the last try."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    operations: list[Any] = [CommitOperationDelete(path, is_folder=False) for path in sorted(set(change.removed))]
    operations += [CommitOperationAdd(path, content) for path, content in sorted(change.files.items())]

    def commit() -> Any:
        # A second try after a lost answer cannot commit twice: the parent is no longer the newest commit then.
        where = {"repo_type": head.repo_type, "parent_commit": head.commit, "create_pr": create_pr}
        return head.api.create_commit(head.repo_id, operations, commit_message=message, **where)

    try:
        # A pull request has no such guard: it is tried again only after answers that say that nothing was done.
        return patiently(commit, (429, 503) if create_pr else BUSY)
    except HfHubHTTPError as error:
        if last or error.response.status_code not in OVERTAKEN:
            raise
        return None


def matching(names: Iterable[str], pattern: re.Pattern[str], but: Collection[str] = ()) -> list[str]:
    """The names that a pattern matches as a whole, without those of `but`."""
    return sorted(name for name in names if pattern.fullmatch(name) and name not in but)


# --- a busy Hub ---


def patiently(call: Callable[[], Any], statuses: Collection[int] = BUSY) -> Any:
    """Calls, and calls again where the Hub is busy, after the time that it asks for or 1, 2, 4, ... seconds."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except Exception as error:
            wait, status = 2.0 ** (attempt - 1), "what is not JSON"  # as gateways do while the Hub is down
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
    """True for a request that `huggingface_hub` has repeated already."""
    return request.method == "PUT" or REPEATED_BY_CLIENT.search(request.url.path) is not None


def asked_to_wait(response: Any, otherwise: float) -> float:
    """The seconds that the Hub asks to wait, in `Retry-After` (seconds, or a date) or in `RateLimit`."""
    from huggingface_hub.utils import parse_ratelimit_headers

    asked = response.headers.get("retry-after", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:  # not a date
        limit = parse_ratelimit_headers(response.headers)
        return float(limit.reset_in_seconds) if limit and limit.remaining == 0 else otherwise


# --- what is said ---


@contextmanager
def refusals() -> Iterator[None]:
    """Turns the errors of the Hub and the network into a PushError of one line."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (HTTPError, OSError, RuntimeError, json.JSONDecodeError) as error:
        # OSError: no token, or told to stay offline. RuntimeError: an upload of a large file broke off.
        raise PushError(environment_line(error) or first_line(error)) from error
    except ValueError as error:  # front matter that the Hub refuses, a name that none can have
        raise PushError(" ".join(str(error).split())) from error


def without_queries(record: logging.LogRecord) -> bool:
    """A filter of the log of `huggingface_hub`, which prints the addresses of uploads with their signatures."""
    record.msg, record.args = hide_queries(record.getMessage()), ()
    return True
