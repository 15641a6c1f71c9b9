"""Describes in one line a failure of the environment: disk, network, Hub or limits of the operating system.

These errors have nothing to do with a flag or an input: the same command may succeed later, or on another machine. All
commands ask here (`model_cards/commands/console.py`), so that no call needs a list of exceptions of its own.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sqlite3
from collections.abc import Iterator
from typing import Any

BUSY = (429, 500, 502, 503, 504)  # statuses of a Hub that is overloaded or down
# What the operating system reports when a disk or this process is at its limit, with what to do about it.
LIMITS = {
    errno.ENOSPC: "free some space, or name a folder on another disk; `medpairs clean` lists caches that can go",
    errno.EDQUOT: "free some space, or name a folder outside of this quota; `medpairs clean` lists caches that can go",
    errno.EFBIG: "the disk or `ulimit -f` does not allow a file of this size",
    errno.EROFS: "name a folder that can be written",
    errno.EIO: "the disk cannot be read or written; check it, or name a folder on another disk",
    errno.EMFILE: "raise the limit with `ulimit -n 65536`, or use fewer processes",
    errno.ENFILE: "other programs have too many files open on this machine",
    errno.ENOMEM: "use fewer processes or smaller batches, or end other programs",
}
NETWORK = {
    errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH,
    errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EADDRNOTAVAIL,
}  # fmt: skip
CLIENTS = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp"}  # packages of HTTP clients
UNREACHABLE = {"TransportError", "ConnectionError", "Timeout", "ClientConnectionError"}  # their base classes
OTHER_PERMISSION = "check its permissions, or name another folder"
LOG_IN = "log in with `hf auth login` as a user with access"
LATER = "try again later; https://status.huggingface.co says how the Hub is"
CHECK = "check the connection, HTTPS_PROXY and HF_ENDPOINT"
OFFLINE = "unset it, or download first what the command reads"
RUST_ERRNO = re.compile(r"\(os error (\d+)\)")  # safetensors, tokenizers and hf-xet report the number in their text
# torch.save says no more than that a file has another size than it has written.
TORCH_WRITE = re.compile(r"PytorchStreamWriter failed writing|inline_container\.cc.* unexpected pos|iostream error")
TORCH_LINE = f"torch could not write a file, probably because the disk is full; {LIMITS[errno.ENOSPC]}"
FULL_DATABASE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
}


def environment_line(error: BaseException) -> str | None:
    """What failed around the command and what to do, in one line; None where nothing did.

    The causes of the error are asked, too: libraries wrap a full disk in errors of their own. What says most comes
    first: a server's answer before a connection that broke, and that before the error that a library made of it. The
    line has neither tokens nor the query of an address, which may be a signature.
    """
    links = list(chain(error))
    for find in (offline_line, answer_line, limit_line, unreachable_host_line, unreachable_line):
        for link in links:
            if line := find(link):
                return line
    return None


def system_line(error: OSError) -> str:
    """Any other OSError in one line: a folder that is missing or may not be opened, a Hub that refuses."""
    line = first_line(error) if error.strerror is None else f"{places(error)}{error.strerror}"
    response = response_of(error)
    if response is not None and response.status_code in (401, 403):
        return f"{host_of(response)} answers {response.status_code}: {line}; {LOG_IN}"
    return f"{line}; {OTHER_PERMISSION}" if error.errno in (errno.EACCES, errno.EPERM) else line


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it came from, also where `from None` hides them from tracebacks."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


# --- disks and limits of the process ---


def limit_line(error: BaseException) -> str | None:
    """The line of a full or read-only disk, or of a limit of this process; None for any other error."""
    number = limit_of(error)
    if number is None:
        return TORCH_LINE if TORCH_WRITE.search(str(error)) else None
    place = places(error) if isinstance(error, OSError) else ""
    return f"{place}{os.strerror(number)}; {LIMITS[number]}"


def limit_of(error: BaseException) -> int | None:
    """The number of the operating system's error, where it is one of a limit."""
    number: Any = None
    if isinstance(error, OSError) and error.errno is not None:
        number = error.errno
    elif isinstance(error, sqlite3.Error):
        # The lower byte is the kind of error, the upper ones say more about it.
        number = FULL_DATABASE.get((getattr(error, "sqlite_errorcode", None) or 0) & 0xFF)
    elif isinstance(error, MemoryError):
        number = errno.ENOMEM
    elif found := RUST_ERRNO.search(str(error)):
        number = int(found[1])
    return number if number in LIMITS else None


def places(error: OSError) -> str:
    """`PATH: ` of the files that the error names; nothing where it names none."""
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return f"{' -> '.join(named)}: " if named else ""


# --- the network and the Hub ---


def offline_line(error: BaseException) -> str | None:
    """The line of a request that is not made, because the user asked for none."""
    if type(error).__name__ not in ("OfflineModeIsEnabled", "OfflineModeError"):
        return None
    return f"the Hub is not asked, because HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set; {OFFLINE}"


def answer_line(error: BaseException) -> str | None:
    """The line of a Hub that is busy or broken. Its other answers are about a name or a token."""
    response = response_of(error)
    if response is None or response.status_code not in (408, *BUSY):
        return None
    phrase = f"{response.status_code} {getattr(response, 'reason_phrase', '')}".strip()
    said = getattr(error, "server_message", None)
    more = f" ({' '.join(said.split())})" if said else ""
    return f"{host_of(response)} answers {phrase}{more}; {LATER}"


def unreachable_host_line(error: BaseException) -> str | None:
    """The line of a server out of reach whose name is known."""
    host = host_of(error)
    return f"no connection to {host}: {first_line(error)}; {CHECK}" if host and is_unreachable(error) else None


def unreachable_line(error: BaseException) -> str | None:
    """The line of a server out of reach, as the error has it."""
    return f"no connection: {first_line(error)}; {CHECK}" if is_unreachable(error) else None


def is_unreachable(error: BaseException) -> bool:
    """True for a server that could not be asked, or broke off."""
    if isinstance(error, socket.gaierror | ConnectionError):
        return not isinstance(error, BrokenPipeError)
    if isinstance(error, OSError) and error.errno in NETWORK:
        return True
    kinds = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & CLIENTS) and bool(names & UNREACHABLE)


def host_of(found: Any) -> str:
    """The host that a response or an error is about, with its port: no path, query or password; "" if not known."""
    try:
        url = found.request.url
    except (AttributeError, RuntimeError):  # httpx raises RuntimeError where there was no request
        return ""
    host, port = getattr(url, "host", None), getattr(url, "port", None)
    return f"{host}:{port}" if host and port else str(host or "")


def response_of(error: BaseException | None) -> Any:
    """The Hub's answer that an error comes from, if it comes from one."""
    while error is not None:
        if getattr(error, "response", None) is not None:
            return error.response
        error = error.__cause__
    return None


# --- what errors say ---


def first_line(error: BaseException) -> str:
    """What an error says, in one line: the Hub's own answer where there was one, else its first line with words.

    Without the query of an address, which may be a signature.
    """
    for link in (error, error.__cause__):
        if answer := getattr(link, "server_message", None):
            return " ".join(answer.split()).rstrip(".")
    if isinstance(error, json.JSONDecodeError):
        return "the Hub's answer is not JSON; check HF_ENDPOINT and https://status.huggingface.co"
    lines = (line.strip() for line in hide_queries(str(error)).splitlines())
    return next((line for line in lines if line), type(error).__name__).rstrip(".")


def hide_queries(text: str) -> str:
    """The text without the query of each address in it."""
    return re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]+", r"\1", text)
