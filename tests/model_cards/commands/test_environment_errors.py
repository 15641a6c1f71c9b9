"""What failed around a command, in one line: disks, limits and servers that fail, and what libraries make of them."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from pathlib import Path

import pytest

from model_cards.commands.environment_errors import environment_line, system_line

FULL = Path("/dev/full")  # every write to it fails as on a full disk
ADVICE = "free some space, or name a folder on another disk; `medpairs clean` lists caches that can go"


def raised(call) -> BaseException:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def write_full() -> None:
    with FULL.open("wb", buffering=0) as file:
        file.write(b"x")


needs_full = pytest.mark.skipif(not FULL.exists(), reason="/dev/full is not here")


@needs_full
def test_a_full_disk_has_its_advice():
    assert environment_line(raised(write_full)) == f"No space left on device; {ADVICE}"
    named = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    assert environment_line(named) == f"/data/x: No space left on device; {ADVICE}"


@needs_full
def test_what_libraries_make_of_a_full_disk_is_seen(tmp_path):
    """torch says no more than that it failed, others wrap the error."""
    import torch

    def wrapped() -> None:
        try:
            write_full()
        except OSError as error:
            raise RuntimeError("An error occurred while generating the dataset") from error

    def hidden() -> None:
        try:
            write_full()
        except OSError:
            raise ValueError("--image_cache x: no space") from None

    for call in (wrapped, hidden):
        assert environment_line(raised(call)) == f"No space left on device; {ADVICE}"
    (tmp_path / "full").symlink_to(FULL)  # a library that renames files replaces the link, and not the device
    line = environment_line(raised(lambda: torch.save({"x": torch.zeros(1 << 20)}, tmp_path / "full")))
    assert line == f"torch could not write a file, probably because the disk is full; {ADVICE}"


def test_safetensors_reports_the_number_in_its_text(tmp_path):
    import torch
    from safetensors.torch import save_file

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        error = raised(lambda: save_file({"x": torch.zeros(1 << 20)}, tmp_path / "x.safetensors"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert environment_line(error) == "File too large; the disk or `ulimit -f` does not allow a file of this size"


def test_a_full_database_is_a_full_disk(tmp_path):
    database = sqlite3.connect(tmp_path / "x.sqlite")
    database.execute("PRAGMA max_page_count = 2")

    def fill() -> None:
        database.execute("CREATE TABLE big (value BLOB)")
        database.execute("INSERT INTO big VALUES (zeroblob(100000))")

    assert environment_line(raised(fill)) == f"No space left on device; {ADVICE}"
    assert environment_line(raised(lambda: database.execute("SELECT nothing"))) is None


def test_too_many_open_files_say_how_to_raise_the_limit(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")), before[1]))  # noqa: PTH208
    try:
        with pytest.raises(OSError) as caught:
            [(tmp_path / str(n)).open("w") for n in range(9)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    line = environment_line(caught.value)
    assert line.startswith(f"{tmp_path}/") and "Too many open files; raise the limit with `ulimit -n" in line


def test_a_read_only_disk_and_no_memory():
    line = environment_line(OSError(errno.EROFS, "Read-only file system", "/mnt/x"))
    assert line == "/mnt/x: Read-only file system; name a folder that can be written"
    assert environment_line(MemoryError()).startswith("Cannot allocate memory; use fewer processes")


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), FileNotFoundError(errno.ENOENT, "No such", "/x")])
def test_anything_else_is_not_of_the_environment(error):
    assert environment_line(error) is None


def test_other_errors_of_the_system_name_their_place(tmp_path):
    assert system_line(raised((tmp_path / "none").read_bytes)) == f"{tmp_path}/none: No such file or directory"
    denied = PermissionError(errno.EACCES, "Permission denied", "/root/x")
    assert system_line(denied) == "/root/x: Permission denied; check its permissions, or name another folder"
    two = raised(lambda: (tmp_path / "a").rename(tmp_path / "b"))
    assert system_line(two) == f"{tmp_path}/a -> {tmp_path}/b: No such file or directory"


# --- the network and the Hub ---


def test_a_server_out_of_reach_is_named_without_the_query_of_its_address():
    from huggingface_hub.utils import get_session

    address = "http://me:password@127.0.0.1:9/x.bin?signature=SECRET"
    line = environment_line(raised(lambda: get_session().get(address)))
    assert line.startswith("no connection to 127.0.0.1:9: ") and line.endswith(
        "check the connection, HTTPS_PROXY and HF_ENDPOINT"
    )
    assert "SECRET" not in line and "password" not in line


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_that_is_down_says_its_status_and_host(hub, status):
    from huggingface_hub import HfApi

    hub.fault("GET", "/api/models/org/none", status, times=20)
    line = environment_line(raised(lambda: HfApi().model_info("org/none")))
    assert line.startswith(f"{hub.endpoint.removeprefix('http://')} answers {status} ")
    assert "https://status.huggingface.co says how the Hub is" in line and "hf_" not in line


def test_a_name_that_the_hub_does_not_have_is_not_its_fault(hub):
    from huggingface_hub import HfApi

    assert environment_line(raised(lambda: HfApi().model_info("org/none-such"))) is None


def test_a_hub_that_refuses_says_who_may():
    from huggingface_hub import HfApi

    line = system_line(raised(lambda: HfApi(token="hf_wrong").whoami()))
    assert "answers 401: " in line and line.endswith("; log in with `hf auth login` as a user with access")
    assert "hf_wrong" not in line
