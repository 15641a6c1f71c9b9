"""Answers questions with a model behind an OpenAI-compatible address: vLLM, SGLang, `transformers serve`, and others.

Images are sent as PNG in data URLs. The key is read from an environment variable, is sent in a header only, and stands
in no record, card or message.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from evaluation.loading import InputError
from evaluation.models.protocols import FROZEN, Answerer
from evaluation.scoring.messages import plain_messages, row_number
from evaluation.scoring.rgb_images import to_rgb

WAITS = (1.0, 4.0, 16.0)  # seconds before the second, third and fourth try
BUSY = (408, 425, 429, 500, 502, 503, 504)  # states that can pass
MOST_BYTES = 1 << 24  # of an answer
NO_TOWER = "left out, because the vision tower of a served model cannot be called; name an encoder by --frozen_encoder"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would send the key and the images to another address."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server.

    Attributes:
        address: without a slash at the end, for example `http://localhost:8000/v1`.
        key: the key; "" for none.
        timeout: seconds to wait for an answer.
    """

    address: str
    key: str
    timeout: float

    def ask(self, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """Posts a JSON object, or gets one if there is no content, and returns the object of the answer.

        Raises:
            InputError: the server refuses, or does not answer after all tries.
        """
        headers = {"Content-Type": "application/json", "User-Agent": "medpairs"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.address}{path}", data, headers)  # noqa: S310 (http and https only)
        # The list of models is asked first: a mistyped address is found within seconds.
        waits = WAITS[:1] if content is None else WAITS
        problem = ""
        for wait in (*waits, None):
            try:
                with urllib.request.build_opener(NoRedirect).open(request, timeout=self.timeout) as reply:
                    return self.parsed(reply.read(MOST_BYTES + 1))
            except urllib.error.HTTPError as error:
                problem = f"status {error.code}: {self.reason(error)}"
                if error.code not in BUSY:
                    break
            except (OSError, http.client.HTTPException) as error:  # no connection, or it broke; a timeout is an OSError
                reason = getattr(error, "reason", error)
                problem = f"no answer ({str(reason) or type(error).__name__})"
            if wait is not None:
                time.sleep(wait)
        raise InputError(f"--model {self.address}: {self.without_key(problem)}")

    def parsed(self, data: bytes) -> dict[str, Any]:
        """Returns the object of an answer. Raises InputError if it is none."""
        try:
            found = json.loads(data) if len(data) <= MOST_BYTES else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise InputError(
                f"--model {self.address}: the answer is not a JSON object; is this an OpenAI-compatible API"
            )
        return found

    def reason(self, error: urllib.error.HTTPError) -> str:
        """Returns in one short line why a server refused."""
        try:
            text = error.read(1 << 16).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            text = ""
        try:
            found = json.loads(text)
            found = found.get("error", found)
            text = str(found.get("message") or found.get("detail") or found) if isinstance(found, dict) else str(found)
        except (ValueError, AttributeError, RecursionError):
            pass
        # The key is covered before the text is cut, so that no part of it is left.
        text = self.without_key(text)
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return line[:300] or str(error.reason)

    def without_key(self, text: str) -> str:
        """Returns a text in which the key is covered, as some servers repeat it."""
        return text.replace(self.key, "***") if self.key else text


def server_of(options: argparse.Namespace) -> Server:
    """Returns the server that `--model`, `--api_key_env` and `--timeout` name.

    Raises:
        InputError: the address contains a password or a query, or the environment variable is not set.
    """
    try:
        parts = urllib.parse.urlsplit(options.model)
        wrong = not parts.hostname or (parts.port == 0)
    except ValueError:  # a port that is not a number
        parts, wrong = urllib.parse.urlsplit(""), True
    if wrong or parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        # It is not repeated, because it may contain a password.
        raise InputError(
            "--model http://...: an address is http://HOST:PORT/v1, without a password or a query. Give a key by "
            "--api_key_env."
        )
    key = ""
    if options.api_key_env is not None:
        key = os.environ.get(options.api_key_env, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise InputError(f"--api_key_env {options.api_key_env}: this environment variable has no key")
    path = parts.path.rstrip("/") or "/v1"
    return Server(f"{parts.scheme}://{parts.netloc}{path}", key, options.timeout)


def served_model(options: argparse.Namespace) -> str:
    """Returns the name of the model to ask: that of `--served_model`, or the only one that the server has.

    Raises:
        InputError: the server does not answer, or has several models or another one.
    """
    if options.served_model is not None:
        return options.served_model
    server = server_of(options)
    entries = server.ask("/models").get("data")
    names = [entry["id"] for entry in entries or () if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    if len(names) != 1:
        found = ", ".join(names[:10]) or "none"
        raise InputError(f"--model {server.address} serves {len(names)} models ({found}); name one by --served_model")
    return names[0]


def remote_answerer(name: str, options: argparse.Namespace) -> Answerer:
    """Returns the model `name` of a server as an answerer; `--batch_size` questions are asked at the same time."""
    server = server_of(options)

    def ask(rows: Any, number: int) -> str:
        where = f"row {row_number(rows, number)}"
        content = {"model": name, "messages": messages_of(rows[number], where), "temperature": 0}
        reply = server.ask("/chat/completions", content | {"max_tokens": options.max_new_tokens, "stream": False})
        try:
            text = reply["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise InputError(f"--model {server.address}: {where}: the answer has no choices") from None
        # None: everything was spent on hidden reasoning, or the answer was withheld.
        return text.strip() if isinstance(text, str) else ""

    def answer(rows: Sequence[dict]) -> list[str]:
        found: list[str] = []
        with ThreadPoolExecutor(options.batch_size) as pool:
            for start in range(0, len(rows), options.batch_size):
                numbers = range(start, min(start + options.batch_size, len(rows)))
                found += pool.map(lambda number: ask(rows, number), numbers)
        return found

    return Answerer(answer, left_out={FROZEN: NO_TOWER})


def messages_of(row: dict, where: str) -> list[dict[str, Any]]:
    """Returns the turns of a row without its last answer, with its images at the start of the first question."""
    turns = [dict(turn) for turn in plain_messages(row["messages"])[:-1]]
    first = next(turn for turn in turns if turn["role"] == "user")
    images = [{"type": "image_url", "image_url": {"url": data_url(image, where)}} for image in row["images"]]
    first["content"] = [*images, {"type": "text", "text": first["content"]}]
    return turns


def data_url(image: Any, where: str) -> str:
    """Returns an image as a data URL, in PNG."""
    file = io.BytesIO()
    to_rgb(image, where).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
