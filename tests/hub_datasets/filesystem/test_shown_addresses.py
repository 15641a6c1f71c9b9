"""Checks that no message, file or log of a build contains the secrets of an address.

The addresses have a secret wherever one can be: in the user name and password, in the query and in the fragment.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest

from hub_datasets.build import main
from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.ingest.source_folders import refuse_overlaps
from hub_datasets.output.parquet import Images
from hub_datasets.output.publish import push_dataset
from hub_datasets.records import RawRecord
from hub_datasets.sources import SOURCES
from tests.hub_datasets.checked import options_for, staged
from tests.hub_datasets.folders import sent, zipped
from tests.hub_datasets.layouts import report_row, tree, write_four_sources, write_reports

SECRET = "S3CR3T"


def signed(place: str) -> str:
    """An address in memory with secrets, under which files can be written and read."""
    return f"memory://{SECRET}-user:{SECRET}-password@{place}?sig={SECRET}-query&e=1#{SECRET}-fragment"


def put(folder: Path, address: str) -> str:
    """Copies a folder to an address."""
    for name, data in tree(folder).items():
        with storage.open_file(storage.join(address, name), "wb") as file:
            file.write(data)
    return address


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """The store of this process; it is emptied afterwards."""
    store = fsspec.filesystem("memory")
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


@pytest.fixture
def shown_of_build(memory, capfd, caplog, tmp_path):
    """`shown_of_build(*flags)`: exit status of a build, and all that it printed and logged."""
    caplog.set_level(logging.INFO)  # at DEBUG, fsspec itself logs what it opens

    def run(*flags: str | Path) -> tuple[int, str]:
        key = (
            ("--key_file", tmp_path / "secret.key") if "--reports_dir" in flags else ()
        )  # no output here to lie beside
        status = main([str(flag) for flag in (*flags, *key, "--num_proc", "1")])
        return status, "\n".join((*capfd.readouterr(), caplog.text))

    return run


# --- The function itself


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("data/raw", "data/raw"),
        ("/data/what?#@", "/data/what?#@"),  # a path of this machine has no secrets
        ("file:///data/a b", "file:///data/a b"),
        ("data/a\nb", "data/a\\nb"),
        ("s3://bucket/folder/", "s3://bucket/folder/"),
        ("s3://bucket/images@2x/a", "s3://bucket/images@2x/a"),
        ("hf://datasets/org/name@main/folder", "hf://datasets/org/name@main/folder"),
        ("https://host:8443/x.zip", "https://host:8443/x.zip"),
        ("https://[::1]:80/x.zip", "https://[::1]:80/x.zip"),
        ("https://host/x.zip?sig=S3CR3T&e=1", "https://host/x.zip"),
        ("https://host/x.zip#S3CR3T", "https://host/x.zip"),
        ("https://host/x.zip?a=https://S3CR3T:S3CR3T@other/", "https://host/x.zip"),
        ("https://S3CR3T@host/x", "https://host/x"),
        ("https://user:S3CR3T@host:80/x@y", "https://host:80/x@y"),
        ("https://user:S3@CR3T@host/x", "https://host/x"),
        ("https://user:S3/CR3T@host/x", "https://..."),
        ("https://user:S3?CR3T@host/x", "https://..."),
        ("https://user:S3#CR3T@host/x", "https://..."),
        ("https://host/a\nb?S3CR3T", "https://host/a\\nb"),
        ("zip://a.png::https://user:S3CR3T@host/x.zip?S3CR3T", "zip://a.png::https://host/x.zip"),
        ("simplecache::s3://key:S3CR3T@bucket/x", "simplecache::s3://bucket/x"),
        (Path("data/raw"), "data/raw"),
    ],
    ids=str,
)
def test_how_an_address_is_shown(address, shown):
    assert storage.shown(address) == shown
    assert storage.has_secrets(address) is ("CR3T" in str(address))


@pytest.mark.parametrize("name", ["", "a.png", "a\nb.png"])
def test_a_folder_is_named_in_the_same_way(memory, name):
    folder = sent(Folder(signed("bucket/set")))
    place = "memory://bucket/set"
    assert folder.named(name) == (f"{place}/{name}".replace("\n", "\\n") if name else place)
    assert repr(folder) == f"Folder({place!r})"


# --- A build that succeeds


def test_nothing_that_a_build_writes_or_prints_has_a_secret(memory, tmp_path, shown_of_build):
    """Two folders of one source, so that labels are written too; rejected, ignored and flagged rows in them."""
    rows = [
        *(report_row(n, study_id=f"S{n}", patient_id=f"P{n}") for n in range(8)),
        report_row(8, text="Call Dr. Smith at 555-123-4567 about this chest X-ray."),
        report_row(9, image="images/gone.png"),
        "not JSON",
    ]
    raw = write_four_sources(tmp_path / "raw")
    flags = [word for flag, folder in raw.items() for word in (flag, put(folder, signed(f"bucket/{folder.name}")))]
    flags += ["--reports_dir", put(write_reports(tmp_path / "more", rows), signed("bucket/more"))]
    output, cache, kept = signed("bucket/out"), signed("bucket/cache"), signed("bucket/kept")
    sources = set(memory.find("/"))
    places = ["--output_dir", output, "--cache_dir", cache, "--val_fraction", "0.3"]

    status, printed = shown_of_build(*flags, *places)
    assert status == 0 and SECRET not in printed
    assert "Written to memory://bucket/out: load_dataset('memory://bucket/out', 'pairs')" in printed
    written = {path: memory.cat_file(path) for path in memory.find("/") if path not in sources}
    names = {path.rsplit("/", 1)[-1] for path in written}
    assert names >= {
        "report.json", "rejections.jsonl", "review.jsonl", "README.md", "dataset_info.json", "splits.txt",
        ".build.json", "chat_instructions.jsonl", "stage.json", "catalogue.sqlite", "images-000000.bin",
    }  # fmt: skip
    for path, content in written.items():
        assert SECRET.encode() not in content, path
    instructions = next(data.decode() for path, data in written.items() if path.endswith("chat_instructions.jsonl"))
    assert '"image": "memory://bucket/more/images/0.png"' in instructions
    (review,) = (data.decode() for path, data in written.items() if path.endswith("review.jsonl"))
    (rejections,) = (data.decode() for path, data in written.items() if path.endswith("rejections.jsonl"))
    assert "person_name" in review and "more/" in rejections

    for again in ([], ["--overwrite", "--min_text_chars", "1"], ["--overwrite", "--keep_splits", kept]):
        if again[-1:] == [kept]:
            memory.copy(storage.filesystem_of(output)[1], storage.filesystem_of(kept)[1], recursive=True)
        status, printed = shown_of_build(*flags, *places, *again)
        assert status == 0 and SECRET not in printed


def test_a_new_signature_is_not_a_new_build(memory, tmp_path):
    """The key of a build is made of the address as it is shown: nothing that is kept depends on a secret."""
    raw = write_reports(tmp_path / "raw", [report_row(0)])
    addresses = [put(raw, f"memory://key:{number}@bucket/set?sig={number}") for number in range(2)]
    keys = [options_for({"--reports_dir": address}, tmp_path / "out").key(["k"]) for address in addresses]
    assert keys[0] == keys[1]


# --- Builds that are refused


def refusals() -> dict[str, list[str]]:
    """Flags of builds that fail, each for another reason, by what the message says."""
    reports = ["--reports_dir", signed("bucket/reports")]
    out = ["--output_dir", signed("bucket/new")]
    cache = ["--cache_dir", "CACHE"]
    return {
        "is given twice": [*reports, *reports, *out],
        "is inside": [*reports, "--reports_dir", signed("bucket/reports") + "/images", *out],
        "truncated, or not a zip file": ["--knee_dir", signed("bucket/broken"), *out],
        "same name": [*reports, "--reports_dir", signed("bucket/reports").replace("e=1", "e=2"), *out],
        "no .json": ["--reports_dir", signed("bucket/nothing"), *out],
        "no metadata.csv": ["--pad_ufes_dir", signed("bucket/nothing"), *out],
        "none of train.json": ["--slake_dir", signed("bucket/nothing"), *out],
        "no knee images": ["--knee_dir", signed("bucket/nothing"), *out],
        "exists and is not empty": [*reports, "--output_dir", signed("bucket/full"), *cache],
        "no build wrote to this folder": [*reports, "--output_dir", signed("bucket/full"), *cache, "--overwrite"],
        "contains --reports_dir": [*reports, "--output_dir", signed("bucket/reports")],
        "no splits.txt there": [*reports, *out, "--keep_splits", signed("bucket/nothing")],
        "remove the file": [*reports, *out, "--keep_splits", signed("bucket/splits")],
        "requires --cache_dir": [*reports, "--output_dir", f"hf://{SECRET}:{SECRET}@datasets/org/x?{SECRET}#{SECRET}"],
        "cannot be opened": ["--reports_dir", signed("x").replace("memory", "nonsense"), *out],
        "cannot be opened: ": [*reports, "--output_dir", signed("x").replace("memory", "nonsense")],
        "the store answered with": [*reports, "--output_dir", signed("127.0.0.1:1/x").replace("memory", "http")],
    }


@pytest.mark.parametrize("reason", refusals())
def test_no_refusal_shows_a_secret(memory, tmp_path, shown_of_build, reason):
    put(write_reports(tmp_path / "raw", [report_row(0)]), signed("bucket/reports"))
    put(write_reports(tmp_path / "other", [report_row(0)]), signed("bucket/reports").replace("e=1", "e=2"))
    for place, name, content in (
        ("bucket/nothing", "notes.txt", b"nothing"),
        ("bucket/full", "thesis.txt", b"not a build"),
        ("bucket/broken", "a.zip", b"PK\3\4 cut off"),
        ("bucket/splits", "splits.txt", b"# header\nnot a line of splits\n"),
    ):
        with storage.open_file(storage.join(signed(place), name), "wb") as file:
            file.write(content)
    flags = [signed("bucket/cache") if flag == "CACHE" else flag for flag in refusals()[reason]]
    status, printed = shown_of_build(*flags)
    assert status == 2 and SECRET not in printed
    (line,) = re.findall(r"^error: .*$", printed, re.MULTILINE)
    assert reason in line


def test_messages_that_need_a_fault_in_the_middle_of_a_build(memory, tmp_path):
    """Changing files, a damaged cache, a failing store, a second build, a push from an address, overlapping folders."""
    address = put(write_reports(tmp_path / "raw", [report_row(0)]), signed("bucket/set"))
    options = options_for(
        {"--reports_dir": address}, signed("bucket/out"), "--cache_dir", f"{tmp_path}/cache", "--overwrite"
    )
    ((source, folder),) = options.folders

    def read(folder: Folder, *columns: Any) -> Iterator[RawRecord]:
        yield from source.read(folder, *columns)
        put(write_reports(tmp_path / "new", [report_row(1)]), address)

    def read_damaged() -> None:
        with Images([{"stage": address, "source": address, "follow_links": False}]) as images:
            images.read_into(memoryview(bytearray(9)), 0, {"file": "reports.jsonl", "offset": 0, "content": ""})

    def fail(*_: object, **__: object) -> None:
        raise ValueError(f"403, url={address}")

    def list_failing() -> None:
        failing = Folder(address)
        failing._store._system = SimpleNamespace(invalidate_cache=lambda: None, find=fail)
        failing.files()

    (tmp_path / "cache").mkdir()
    changing = replace(options, folders=((replace(source, read=read), folder),))
    messages = [f"{list(options.locks().values())}"]
    for call in (
        lambda: staged(changing, tmp_path / "work"),
        read_damaged,
        list_failing,
        lambda: push_dataset(address, "org/name"),
        lambda: refuse_overlaps("--knee_dir", [Folder(address), Folder(f"{address}/images")]),
        lambda: next(iter(SOURCES[0].read(Folder(signed("bucket/none"))))),
    ):
        with pytest.raises(BuildError) as refused:
            call()
        messages.append(str(refused.value))
    assert all("memory://bucket/" in message and SECRET not in message for message in messages), messages


# --- A zip file behind a signed address


class Store(BaseHTTPRequestHandler):
    """Serves one file, whole or in ranges, to whoever brings the signature."""

    content = b""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(self.content))
        data = self.content[start:end]
        self.send_response((206 if asked else 200) if f"sig={SECRET}" in self.path else 403)
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@pytest.fixture
def store() -> Iterator[str]:
    """The host and port of a store in this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_zip_file_behind_a_signed_address(store, tmp_path, shown_of_build):
    Store.content = zipped(tree(write_reports(tmp_path / "raw", [report_row(n) for n in range(4)])))
    address = f"http://{SECRET}:{SECRET}@{store}/set.zip?sig={SECRET}#{SECRET}"
    status, printed = shown_of_build("--reports_dir", address, "--output_dir", tmp_path / "out")
    assert status == 0 and SECRET not in printed
    assert "medical_reports: read 4, accepted 4" in printed
    for folder, _, files in os.walk(tmp_path):
        for name in files:
            assert SECRET.encode() not in (Path(folder) / name).read_bytes(), name
    assert f'"image": "http://{store}/set.zip/images/0.png"' in (tmp_path / "out/chat_instructions.jsonl").read_text()

    status, printed = shown_of_build(
        "--reports_dir", address.replace("sig=", "old="), "--output_dir", tmp_path / "other"
    )
    assert status == 1 and SECRET not in printed and f"http://{store}/set.zip" in printed
