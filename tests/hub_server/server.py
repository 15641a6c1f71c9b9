"""Start a Hub beside the calling program and stop it again."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import uvicorn

from .app import Fault, HubApp
from .objects import User
from .store import Store


class HubServer:
    """A running Hub: its `endpoint`, its `log` of `(method, path, status)`, its `faults`, and `stop()`."""

    def __init__(self, app: HubApp, listener: socket.socket):
        self.app = app
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            app, log_level="warning", lifespan="off", ws="none", timeout_keep_alive=60, timeout_graceful_shutdown=3
        )
        self._listener, self._server = listener, uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the Hub did not start; the reason is on stderr")
            time.sleep(0.005)

    @property
    def log(self) -> list[tuple[str, str, int]]:
        return self.app.log

    @property
    def faults(self) -> list[Fault]:
        return self.app.faults

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._listener.close()
        self.app.store.close()


def serve(root: str | Path, users: dict[str, User], port: int = 0, open_pages: bool = False) -> HubServer:
    """Serve the Hub kept under `root`, on 127.0.0.1 only, in a daemon thread of this process.

    Args:
        root: its folder, made where it is missing; what a former server left there is served again.
        users: by token.
        port: 0 takes a free one.
        open_pages: pages and files of every repository are shown to visitors without a token (see `HubApp`).

    Raises:
        OSError: the port is taken, or (BlockingIOError) another Hub serves `root`.
    """
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is: 40 ms a request otherwise.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just given up is free
        listener.bind(("127.0.0.1", port))
        store = Store(root, users)
    except BaseException:
        listener.close()
        raise
    return HubServer(HubApp(store, open_pages), listener)
