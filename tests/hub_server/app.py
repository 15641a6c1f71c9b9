"""From HTTP to a route and back: an ASGI application with the store behind it."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from . import (
    routes_discussions,
    routes_files,
    routes_pages,
    routes_refs,
    routes_repositories,
    routes_results,
    routes_upload,
)
from .messages import HubError, Reply, Request, Route
from .objects import User
from .store import Store

# The pages come last: their patterns are the widest.
ROUTES: tuple[Route, ...] = (
    *routes_repositories.routes,
    *routes_files.routes,
    *routes_upload.routes,
    *routes_refs.routes,
    *routes_discussions.routes,
    *routes_results.routes,
    *routes_pages.routes,
)
SEND_PART = 1 << 20
VISITOR = User("visitor", role="read", reads_all=True)


class ClientGone(Exception):
    """The client closed the connection before its request was complete: nothing of it counts."""


@dataclass
class Fault:
    """An ailing Hub: what happens to the next `times` requests that match.

    Attributes:
        method: `POST`, ...
        path: a pattern that is searched for in the request's path.
        status: what they are answered with; None for the right answer, late.
        headers: of that answer.
        body: its text, as of a gateway in front of the Hub; unless given, JSON as the Hub writes it.
        done: carry the request out first, so that only its answer is lost or late.
        hold: the request, or with `done` its answer, waits until this is set, at most a minute.
        carried_out: set when `done` has carried a request out.
    """

    method: str
    path: str
    status: int | None = None
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    done: bool = False
    hold: threading.Event | None = None
    carried_out: threading.Event = field(default_factory=threading.Event)


class HubApp:
    """The ASGI application.

    Args:
        store: what the Hub knows.
        open_pages: show the pages and files of every repository to visitors without a token, so that links open in a
            browser. Only under a loopback host name, so that a web page elsewhere cannot read them through its visitor.

    `log` holds `(method, path, status)` of every answered request; tests read the traffic from it. `faults` is a list
    of `Fault`, which tests fill.
    """

    def __init__(self, store: Store, open_pages: bool = False):
        self.store, self.open_pages = store, open_pages
        self.log: list[tuple[str, str, int]] = []
        self.faults: list[Fault] = []

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not served")
        request = read_head(scope)
        route, arguments = find_route(request.method, request.path)
        try:
            if route and route.takes_file:
                with self.store.blobs.upload() as request.upload:
                    async for part in body_parts(receive):
                        request.upload.write(part)
                    reply = await asyncio.to_thread(self.answer, request, route, arguments)
            else:
                request.body = b"".join([part async for part in body_parts(receive)])
                reply = await asyncio.to_thread(self.answer, request, route, arguments)
        except ClientGone:
            return
        self.log.append((request.method, request.path, reply.status))
        reply.headers.setdefault("x-request-id", f"loopback-{len(self.log)}")
        await send_reply(send, request, reply)

    def answer(self, request: Request, route: Route | None, arguments: dict[str, str]) -> Reply:
        """Runs in a thread: the right answer, or that of a fault."""
        fault = self.fault_of(request)
        reply = None
        if fault is None or fault.done:
            reply = self.right_answer(request, route, arguments)
        if fault is None:
            return reply
        if fault.done:
            fault.carried_out.set()
        if fault.hold:
            fault.hold.wait(60)
        if fault.status is None:
            return reply or self.right_answer(request, route, arguments)
        if fault.body is not None:
            return Reply(fault.body, fault.status, {"content-type": "text/html"} | fault.headers)
        return error_reply(request, HubError(fault.status, "The Hub is busy", headers=fault.headers))

    def fault_of(self, request: Request) -> Fault | None:
        with self.store.lock:
            for fault in self.faults:
                if fault.times and fault.method == request.method and re.search(fault.path, request.path):
                    fault.times -= 1
                    return fault
        return None

    def right_answer(self, request: Request, route: Route | None, arguments: dict[str, str]) -> Reply:
        """Nothing is raised out of here: an error of this server itself is printed and answered by 500."""
        try:
            with self.store.lock:
                request.user = self.user_of(request, route)
                if route is None:
                    # by the code, a client that asks for an id without namespace knows there is no such repository
                    named = re.match(r"/api/(models|datasets|spaces)/[^/]+|.*/resolve/", request.path)
                    raise HubError(404, f"No such page: {request.path}", "RepoNotFound" if named else None)
                reply = route.handler(self.store, request, **arguments)
                return reply if isinstance(reply, Reply) else Reply(reply)
        except HubError as error:
            return error_reply(request, error)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return error_reply(request, HubError(500, "Internal error of the loopback Hub; its traceback is on stderr"))

    def user_of(self, request: Request, route: Route | None) -> User | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if token:
            if token not in self.store.users:
                raise HubError(401, "Invalid credentials in Authorization header")
            return self.store.users[token]
        host = request.headers.get("host", "").rsplit(":", 1)[0]
        opens = self.open_pages and route is not None and route.for_people and host in ("127.0.0.1", "localhost")
        return VISITOR if opens else None


def read_head(scope: dict) -> Request:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    queries = parse_qsl(scope["query_string"].decode("latin-1"))
    return Request(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1").split("?")[0],
        query=dict(queries),
        queries=queries,
        headers=headers,
        base_url=f"{scope['scheme']}://{headers.get('host', '127.0.0.1')}",
    )


def find_route(method: str, path: str) -> tuple[Route | None, dict[str, str]]:
    method = "GET" if method == "HEAD" else method
    for route in ROUTES:
        if route.method == method and (match := route.pattern.fullmatch(path)):
            arguments = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
            if "repo_type" in route.pattern.groupindex:
                arguments.setdefault("repo_type", "model")  # models live at the root of the web address
            return route, arguments
    return None, {}


async def body_parts(receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


def error_reply(request: Request, error: HubError) -> Reply:
    if "text/html" in request.headers.get("accept", ""):
        reply = routes_pages.error_page(error)
    else:
        reply = Reply({"error": error.message, **error.body}, error.status)
    message = error.message.replace("\n", " ").encode("ascii", "replace").decode()  # a header is one line
    reply.headers |= {"x-error-message": message, **error.headers}
    if error.code:
        reply.headers["x-error-code"] = error.code
    return reply


async def send_reply(send, request: Request, reply: Reply) -> None:
    if isinstance(reply.body, Path):
        return await send_file(send, request, reply)
    data = reply.encoded()
    reply.headers.setdefault("content-type", "application/json")
    await send_head(send, reply, len(data))
    await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else data})


async def send_file(send, request: Request, reply: Reply) -> None:
    """The file, or the one range of it that was asked for."""
    size = reply.body.stat().st_size
    start, end = 0, size
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if wanted and (wanted[1] or wanted[2]):
        if wanted[1]:
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, size) if wanted[2] else size
        else:
            start = max(0, size - int(wanted[2]))
        if start >= end:
            reply.status, reply.headers["content-range"] = 416, f"bytes */{size}"
            await send_head(send, reply, 0)
            return await send({"type": "http.response.body", "body": b""})
        reply.status, reply.headers["content-range"] = 206, f"bytes {start}-{end - 1}/{size}"
    await send_head(send, reply, end - start)
    if request.method != "HEAD":
        with reply.body.open("rb") as file:
            file.seek(start)
            while start < end and (part := file.read(min(SEND_PART, end - start))):
                start += len(part)
                await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def send_head(send, reply: Reply, length: int) -> None:
    headers = {"accept-ranges": "bytes", **reply.headers, "content-length": str(length)}
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
