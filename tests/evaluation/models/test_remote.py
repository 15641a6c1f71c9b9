"""Asks a server on this machine that speaks the OpenAI API, with its faults, and checks what is sent and kept."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from evaluation.loading import InputError
from evaluation.models import remote
from evaluation.models.open_model import open_answerer
from evaluation.models.source import ADDRESS, find_source
from model_cards.results import GENERATION
from tests.evaluation.models.conftest import flags, mixed

KEY = "sk-secret-12345"


class Api(BaseHTTPRequestHandler):
    """Answers with the number of images, the red of the first one's first pixel, and the last question."""

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers.get("Authorization"), body))
        if self.server.faults:
            self.reply(*self.server.faults.pop(0))
            return
        parts = [part for turn in body["messages"] if isinstance(turn["content"], list) for part in turn["content"]]
        images = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        reds = []
        for url in images:
            head, data = url.split(",")
            assert head == "data:image/png;base64"
            reds.append(Image.open(io.BytesIO(base64.b64decode(data))).getpixel((0, 0))[0])
        last = body["messages"][-1]["content"]
        question = last if isinstance(last, str) else last[-1]["text"]
        self.reply(200, {"choices": [{"message": {"content": f" {len(images)} {reds[:1]} {question}"}}]})

    def reply(self, status: int, content: object, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[ThreadingHTTPServer]:
    served = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    served.models, served.seen, served.faults = ["org/served"], [], []
    served.waits = []
    monkeypatch.setattr(remote.time, "sleep", served.waits.append)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_a_server_answers(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    options = flags(model=f"{address(server)}/v1/", api_key_env="MY_KEY", batch_size=3, max_new_tokens=7)
    source = find_source(options)
    assert (source.task, source.form, source.name) == (GENERATION, ADDRESS, "org/served")
    assert KEY not in str(source)
    rows = mixed()
    answerer = open_answerer(source, options, rows)
    answers = answerer.answer(rows)
    reds = [[image.getpixel((0, 0))[0] for image in row["images"]] for row in rows]
    questions = [row["messages"][-2]["content"] for row in rows]
    expected = [f"{len(red)} {red[:1]} {text}" for red, text in zip(reds, questions, strict=True)]
    assert answers == expected
    assert {path for path, _, _ in server.seen} == {"/v1/chat/completions"}
    assert {key for _, key, _ in server.seen} == {f"Bearer {KEY}"}
    for _, _, body in server.seen:
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("org/served", 0, 7)
        assert body["messages"][-1]["role"] == "user"  # the reference is not sent
    doctor = next(body for _, _, body in server.seen if body["messages"][0]["role"] == "system")
    assert doctor["messages"][0]["content"] == "You are a doctor."
    assert answerer.losses is None and answerer.encode_images is None and "vision tower" in answerer.left_out["frozen"]


def test_busy_servers_are_asked_again_and_others_are_not(server):
    options = flags(model=address(server), batch_size=1)
    row = mixed()[:1]
    server.faults = [(503, {}), (429, {"error": {"message": "slow down"}}), (500, b"oops")]
    assert open_answerer(find_source(options), options, row).answer(row)[0].startswith("1 ")
    assert server.waits == [1.0, 4.0, 16.0] and len(server.seen) == 4
    server.faults = [(503, {"error": {"message": "loading"}})] * 4
    with pytest.raises(InputError, match=r"status 503: loading$"):
        open_answerer(find_source(options), options, row).answer(row)
    server.seen.clear()
    server.faults = [(400, {"error": {"message": "context is\ntoo long"}})]
    with pytest.raises(InputError, match=r"status 400: context is too long$"):
        open_answerer(find_source(options), options, row).answer(row)
    assert len(server.seen) == 1


def test_answers_of_another_form(server):
    options = flags(model=address(server), batch_size=1)
    row = mixed()[:1]
    for fault, words in (
        ((200, b"<html>"), "not a JSON object"),
        ((200, b"[" * 100_000), "not a JSON object"),
        ((200, {"choices": []}), "row 0: the answer has no choices"),
        ((301, {}), "status 301"),  # a redirect would send key and images elsewhere
    ):
        server.faults = [fault]
        with pytest.raises(InputError, match=words):
            open_answerer(find_source(options), options, row).answer(row)
    server.faults = [(200, {"choices": [{"message": {"content": None}}]})]
    assert open_answerer(find_source(options), options, row).answer(row) == [""]


def test_the_key_is_in_no_message(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    options = flags(model=address(server), api_key_env="MY_KEY")
    server.faults = [(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})]
    with pytest.raises(InputError, match=r"status 401: Incorrect API key provided: \*\*\*$") as caught:
        open_answerer(find_source(options), options, mixed()[:1]).answer(mixed()[:1])
    assert KEY not in str(caught.value)
    server.faults = [(401, {"error": {"message": f"{'x' * 290} {KEY}"}})]  # where a long message is cut
    with pytest.raises(InputError, match="xxx") as caught:
        open_answerer(find_source(options), options, mixed()[:1]).answer(mixed()[:1])
    assert KEY[:6] not in str(caught.value)
    with pytest.raises(InputError, match="--api_key_env NO_KEY: this environment variable has no key"):
        find_source(flags(model=address(server), api_key_env="NO_KEY"))


def test_which_model_is_asked(server):
    server.models = ["a", "b"]
    with pytest.raises(InputError, match=r"serves 2 models \(a, b\); name one by --served_model"):
        find_source(flags(model=address(server)))
    assert find_source(flags(model=address(server), served_model="b")).name == "b"


@pytest.mark.parametrize("name", ["http://me:secret@host/v1", "http://", "http://host:port/", "https://host/v1?key=x"])
def test_addresses_that_are_refused_and_not_repeated(name):
    with pytest.raises(InputError, match=r"an address is http://HOST:PORT/v1, without a password") as caught:
        find_source(flags(model=name))
    assert "secret" not in str(caught.value) and "key=x" not in str(caught.value)


def test_no_server_is_one_line(monkeypatch):
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    with pytest.raises(InputError, match=r"^--model http://127\.0\.0\.1:9/v1: no answer \(.*refused\)$"):
        find_source(flags(model="http://127.0.0.1:9"))
