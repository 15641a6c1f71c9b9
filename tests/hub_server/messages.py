"""What passes between the server and its routes: a request, a reply, an error, and the table of routes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .blobs import Upload
    from .objects import User

# Ids have a slash in them and revisions come quoted (refs%2Fpr%2F1), so routes match the raw path and the groups are
# unquoted afterwards.
API_REPO = r"/api/(?P<repo_type>model|dataset|space)s/(?P<repo_id>[^/]+/[^/]+)"
WEB_REPO = r"/(?:(?P<repo_type>dataset|space)s/)?(?P<repo_id>(?!(?:api|datasets|spaces|lfs)/)[^/]+/[^/]+)"
REV = r"(?P<rev>[^/]+)"


class HubError(Exception):
    """An answer that is not a success. `code` becomes `X-Error-Code`, by which clients choose their exception."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        body: dict | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.body, self.headers = body or {}, headers or {}


class Fields(dict):
    """A JSON object from a client: a field that is missing or of another kind is the client's error."""

    def need(self, key: str, kind: type) -> Any:
        if not isinstance(self.get(key), kind):
            raise HubError(400, f"{key!r} has to be there and be of type {kind.__name__}")
        return self[key]

    def maybe(self, key: str, kind: type, default: Any = None) -> Any:
        return default if self.get(key) is None else self.need(key, kind)

    def objects(self, key: str) -> list[Fields]:
        items = self.need(key, list)
        if not all(isinstance(item, dict) for item in items):
            raise HubError(400, f"{key!r} has to be a list of objects")
        return [Fields(item) for item in items]


def parse_object(text: bytes | str) -> Fields:
    try:
        data = json.loads(text or b"{}")
    except ValueError as error:  # includes bytes that are not UTF-8
        raise HubError(400, f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise HubError(400, "a JSON object was expected")
    return Fields(data)


@dataclass
class Request:
    method: str
    path: str  # raw: still quoted
    query: dict[str, str]
    queries: list[tuple[str, str]]  # where a key is repeated
    headers: dict[str, str]
    base_url: str
    user: User | None = None
    body: bytes = b""
    upload: Upload | None = None  # the body of a route that takes it in as a file

    def json(self) -> Fields:
        return parse_object(self.body)

    def all(self, key: str) -> list[str]:
        return [value for name, value in self.queries if name in (key, f"{key}[]")]

    def flag(self, key: str) -> bool:
        return self.query.get(key, "").lower() in ("true", "1")

    def number(self, key: str, default: int) -> int:
        value = self.query.get(key)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise HubError(400, f"{key!r} has to be a number")
        return int(value)

    def need_user(self) -> User:
        if self.user is None:
            raise HubError(401, "Invalid username or password.")
        return self.user


@dataclass
class Reply:
    """`body` is a file to send, text (a page) or anything that JSON can hold."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if isinstance(self.body, Path):
            raise TypeError("a file is sent in parts")
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body, default=_plain).encode()


def _plain(value: Any) -> Any:
    """YAML reads `date: 2026-01-31` as a date; JSON has none."""
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


@dataclass(frozen=True)
class Route:
    method: str
    pattern: re.Pattern
    handler: Callable
    takes_file: bool
    for_people: bool


class Routes(list):
    """A table of routes that a module fills with the decorator `@routes(method, pattern)`.

    `takes_file`: the body may be large and is written to disk as it comes. `for_people`: what a person opens in a
    browser, and what a Hub with open pages shows to anyone.
    """

    def __call__(self, method: str, pattern: str, takes_file: bool = False, for_people: bool = False) -> Callable:
        def register(handler: Callable) -> Callable:
            self.append(Route(method, re.compile(pattern + "/?"), handler, takes_file, for_people))
            return handler

        return register
