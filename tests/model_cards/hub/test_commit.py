"""Tests pushes to a local Hub server: one commit on a given parent, retries, and errors of the Hub."""

from __future__ import annotations

import email.utils
import logging
import re
import threading
import time

import pytest
from huggingface_hub import HfApi

from model_cards.hub.commit import (
    ATTEMPTS,
    DECISIONS,
    Change,
    Head,
    PushError,
    check_public,
    first_line,
    hide_queries,
    matching,
    push,
)
from tests.cases import few
from tests.conftest import NOW

OURS = re.compile(r"ours/.*|model\.safetensors")
AT_ONCE = {"retry-after": "0"}


def write(files: dict[str, str]):
    """Returns a decision to write these files and remove all others of ours."""
    contents = {path: text.encode() for path, text in files.items()}
    return lambda head: Change(dict(contents), matching(head.files, OURS, contents))


def files_of(name: str, repo_type: str = "model") -> set[str]:
    return set(HfApi().list_repo_files(name, repo_type=repo_type)) - {".gitattributes"}


def commits(name: str, repo_type: str = "model") -> int:
    return len(HfApi().list_repo_commits(name, repo_type=repo_type))


def answers(hub, since: int, path: str, method: str = "POST") -> list[int]:
    """Returns the status of each later request whose path contains this text."""
    return [status for how, where, status in hub.log[since:] if how == method and re.search(path, where)]


# ---- one commit ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repo_type", ["model", "dataset", "space"])
def test_a_push_makes_the_repository_and_then_replaces_what_is_ours(repo_type, repo_name, hub):
    kind = {"space_sdk": "gradio"} if repo_type == "space" else {}
    pushed = push(repo_name, repo_type, write({"ours/a": "1", "ours/b": "2"}), "First", **kind)
    folder = "" if repo_type == "model" else f"{repo_type}s/"
    assert pushed.repository == f"{hub.endpoint}/{folder}{repo_name}" and pushed.pull_request is None
    assert HfApi().repo_info(repo_name, repo_type=repo_type).private is True
    before = commits(repo_name, repo_type)
    HfApi().upload_file(repo_id=repo_name, repo_type=repo_type, path_or_fileobj=b"x", path_in_repo="mine/notes.md")
    push(repo_name, repo_type, write({"ours/b": "3"}), "Second", **kind)
    assert files_of(repo_name, repo_type) == {"ours/b", "mine/notes.md"}
    assert commits(repo_name, repo_type) == before + 2


def test_the_same_again_makes_no_commit(repo_name):
    push(repo_name, "model", write({"ours/a": "1", "model.safetensors": "\0weights"}), "First")
    before = commits(repo_name)
    push(repo_name, "model", write({"ours/a": "1", "model.safetensors": "\0weights"}), "Again")
    assert commits(repo_name) == before


def test_a_name_alone_is_in_the_namespace_of_the_token(repo_name, hub):
    name = repo_name.removeprefix("org/")
    assert push(name, "model", write({"ours/a": "1"}), "First").repository == f"{hub.endpoint}/tester/{name}"
    assert files_of(f"tester/{name}") == {"ours/a"}


def test_a_missing_repository_is_an_error_where_none_is_to_be_made(repo_name):
    with pytest.raises(PushError, match="Repository not found"):
        push(repo_name, "model", write({}), "First", create=False)
    assert not HfApi().repo_exists(repo_name)


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("private", [False, True])
def test_who_may_see_it(private, public, repo_name, capsys):
    HfApi().create_repo(repo_name, private=private)
    if private or public:
        check_public(repo_name, "model", public)
        push(repo_name, "model", write({"ours/a": "1"}), "First", public=public)
        assert HfApi().model_info(repo_name).private is private  # an existing one stays as it is
        assert ("is private and stays private" in capsys.readouterr().out) is (private and public)
        return
    for refused in (
        lambda: check_public(repo_name, "model", public),
        lambda: push(repo_name, "model", write({"ours/a": "1"}), "First", public=public),
    ):
        with pytest.raises(PushError, match=r"^the repository is public; add --public to push to it$"):
            refused()
    assert files_of(repo_name) == set()


def test_a_new_repository_is_public_where_that_is_said(repo_name):
    check_public(repo_name, "model", False)  # one that is missing can be pushed to
    push(repo_name, "model", write({"ours/a": "1"}), "First", public=True)
    assert HfApi().model_info(repo_name).private is False


def test_notes_are_printed_once_and_after_the_commit(repo_name, capsys):
    push(repo_name, "model", lambda head: Change({"ours/a": b"1"}, notes=["one", "two"]), "First")
    assert capsys.readouterr().out == "one\ntwo\n"


@pytest.mark.parametrize(
    ("name", "token", "words"),
    [
        ("nobody/x", "hf_test", "this token may not write to nobody"),
        ("org/x", "hf_wrong", "Invalid credentials in Authorization header"),
        ("org/x", "hf_read", "this token may not write to org"),
        ("no good/name", "hf_test", "Repo id must use alphanumeric chars"),
    ],
)
def test_a_refusal_is_one_line_without_the_token(name, token, words):
    with pytest.raises(PushError, match=words) as caught:
        push(name, "model", write({"ours/a": "1"}), "First", token=token)
    assert "\n" not in str(caught.value) and token not in str(caught.value)


def test_front_matter_that_the_hub_refuses_is_named(repo_name):
    with pytest.raises(PushError, match=r"Invalid metadata in README\.md\. - metadata must be a mapping"):
        push(repo_name, "model", write({"README.md": "---\n- a list\n---\n"}), "First")


# ---- another commit came first ---------------------------------------------------------------------------------------


def meddling(times: int, decide):
    """Returns a decision before which another user commits, the first `times` times."""
    seen: list[Head] = []

    def decided(head: Head) -> Change:
        seen.append(head)
        if len(seen) <= times:
            HfApi().upload_file(
                repo_id=head.repo_id, path_or_fileobj=str(len(seen)).encode(), path_in_repo=f"ours/{len(seen)}"
            )
        return decide(head)

    return seen, decided


def test_an_overtaken_push_decides_again(repo_name, capsys):
    seen, decide = meddling(2, write({"ours/a": "1"}))
    push(repo_name, "model", decide, "First")
    assert [sorted(set(head.files) - {".gitattributes"}) for head in seen] == [[], ["ours/1"], ["ours/1", "ours/2"]]
    assert files_of(repo_name) == {"ours/a"}  # what the others left of ours was seen, and removed
    assert capsys.readouterr().out.count(f"{repo_name} has a new commit by another user: preparing") == 2


def test_a_branch_that_never_rests_ends_the_push(repo_name):
    seen, decide = meddling(99, write({"ours/a": "1"}))
    with pytest.raises(PushError, match="The branch was updated since you opened this page"):
        push(repo_name, "model", decide, "First")
    assert len(seen) == DECISIONS and "ours/a" not in files_of(repo_name)


def test_two_pushes_at_once_leave_what_the_last_one_wrote(repo_name, hub):
    """Both have read the same commit before either writes."""
    push(repo_name, "model", write({"ours/old": "0"}), "First")
    hold = threading.Event()
    held = hub.fault("POST", f"{repo_name}/commit/", times=2, hold=hold)
    since, errors = len(hub.log), []

    def run(number: int) -> None:
        try:
            push(repo_name, "model", write({f"ours/{number}-{part}": "x" for part in "ab"}), f"By {number}")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: held.times == 0)
    hold.set()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert sorted(answers(hub, since, f"{repo_name}/commit/")) == [200, 200, 412]
    last = HfApi().list_repo_commits(repo_name)[0].title.removeprefix("By ")
    assert files_of(repo_name) == {f"ours/{last}-a", f"ours/{last}-b"}


def wait_for(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- a busy Hub ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/models/[^/]+/[^/]+$"), ("POST", "/repos/create"), ("POST", "/validate-yaml"), ("POST", "/commit/")],
    ids=["look", "create", "check", "commit"],
)
def test_a_busy_hub_is_asked_again(method, path, status, repo_name, hub, capsys):
    hub.fault(method, path, status, times=2, headers=AT_ONCE)
    since = len(hub.log)
    push(repo_name, "model", write({"README.md": "# Mine\n"}), "First")
    assert answers(hub, since, path, method)[:3].count(status) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"The Hub answers {status}") and len(lines) == 2
    assert lines[1].endswith(": trying again in 0 s (2 of 5)")
    assert files_of(repo_name) == {"README.md"}


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": email.utils.formatdate(NOW + 3, usegmt=True)}, 3),
        ({"ratelimit": '"api";r=0;t=2'}, 2),
    ],
    ids=["seconds", "date", "ratelimit"],
)
def test_it_waits_as_long_as_the_hub_asks(headers, asked, repo_name, hub, waits, capsys):
    push(repo_name, "model", write({}), "First")
    hub.fault("POST", "/commit/", 429, headers=headers)
    push(repo_name, "model", write({"ours/a": "1"}), "First")
    assert waits == [asked]
    assert re.search(rf"The Hub answers 429.*: trying again in {asked} s \(1 of 5\)", capsys.readouterr().out)
    assert files_of(repo_name) == {"ours/a"}


def test_without_a_word_of_the_hub_it_waits_a_second_and_then_longer(repo_name, hub, waits, capsys):
    push(repo_name, "model", write({}), "First")
    hub.fault("POST", "/commit/", 503, times=2)
    push(repo_name, "model", write({"ours/a": "1"}), "First")
    assert re.findall(r"again in (\d+) s", capsys.readouterr().out) == ["1", "2"] and waits == [1, 2]


def test_a_hub_that_stays_busy_ends_the_push(repo_name, hub):
    push(repo_name, "model", write({}), "First")
    hub.fault("POST", "/commit/", 503, times=99, headers=AT_ONCE)
    since = len(hub.log)
    with pytest.raises(PushError, match="The Hub is busy"):
        push(repo_name, "model", write({"ours/a": "1"}), "First")
    assert answers(hub, since, "/commit/") == [503] * ATTEMPTS


def test_a_wait_that_is_too_long_is_said_at_once(repo_name, hub):
    push(repo_name, "model", write({}), "First")
    hub.fault("POST", "/commit/", 429, headers={"retry-after": "3600"})
    with pytest.raises(PushError, match=r"the Hub answers 429 .*asks to wait 3600 s; try again later"):
        push(repo_name, "model", write({"ours/a": "1"}), "First")


def test_what_is_wrong_is_not_asked_again(repo_name, hub):
    push(repo_name, "model", write({}), "First")
    hub.fault("POST", "/commit/", 403)
    since = len(hub.log)
    with pytest.raises(PushError, match="The Hub is busy"):
        push(repo_name, "model", write({"ours/a": "1"}), "First")
    assert answers(hub, since, "/commit/") == [403]


def test_a_lost_answer_does_not_commit_twice(repo_name, hub):
    push(repo_name, "model", write({"ours/old": "0"}), "First")
    before = commits(repo_name)
    hub.fault("POST", "/commit/", 503, headers=AT_ONCE, done=True)
    push(repo_name, "model", write({"ours/a": "1"}), "Second")
    assert commits(repo_name) == before + 1 and files_of(repo_name) == {"ours/a"}


@pytest.mark.parametrize(("status", "opened"), [(429, 1), (503, 1), (504, 0)])
def test_a_pull_request_is_opened_once(status, opened, repo_name, hub):
    """After status 504, the pull request may exist or not; a retry could create a second one."""
    push(repo_name, "model", write({}), "First")
    hub.fault("POST", "/commit/", status, headers=AT_ONCE)
    if opened:
        pushed = push(repo_name, "model", write({"ours/a": "1"}), "First", create_pr=True)
        assert pushed.pull_request == f"{hub.endpoint}/{repo_name}/discussions/1"
    else:
        with pytest.raises(PushError):
            push(repo_name, "model", write({"ours/a": "1"}), "First", create_pr=True)
    assert len(list(HfApi().get_repo_discussions(repo_name))) == opened
    assert files_of(repo_name) == set()


@pytest.mark.parametrize(
    ("method", "path"), few([("POST", "/preupload/"), ("POST", "/info/lfs/"), ("PUT", "^/lfs/"), ("GET", "/tree/")])
)
def test_what_the_client_repeats_is_not_repeated_once_more(method, path, repo_name, hub, waits):
    """huggingface_hub itself makes six attempts; retrying them six times would make 36."""
    push(repo_name, "model", write({}), "First")
    hub.fault(method, path, 503, times=99, headers=AT_ONCE)
    since = len(hub.log)
    with pytest.raises(PushError):
        push(repo_name, "model", write({"model.safetensors": f"\0{repo_name}"}), "First")
    assert answers(hub, since, path, method) == [503] * 6 and len(waits) == 5


# ---- messages --------------------------------------------------------------------------------------------------------


def test_no_signature_is_printed(repo_name, hub, caplog):
    signed = "https://s3.example/lfs/1?X-Amz-Signature=SECRET&e=1"
    assert hide_queries(f"PUT {signed} failed: '{signed}'") == (
        "PUT https://s3.example/lfs/1 failed: 'https://s3.example/lfs/1'"
    )
    assert first_line(OSError(f"no answer from {signed}\nmore")) == "no answer from https://s3.example/lfs/1"
    push(repo_name, "model", write({}), "First")
    with caplog.at_level("WARNING"):
        logging.getLogger("huggingface_hub.utils._http").warning(f"HTTP Error 503 thrown while requesting PUT {signed}")
    assert "requesting PUT https://s3.example/lfs/1" in caplog.text and "SECRET" not in caplog.text


def test_a_page_of_a_gateway_is_not_taken_for_an_answer(repo_name, hub, waits, capsys):
    """The check of front matter reads the answer's JSON before its status."""
    hub.fault("POST", "/validate-yaml", 502, body="<html>Bad gateway</html>")
    push(repo_name, "model", write({"README.md": "# Mine\n"}), "First")
    assert "The Hub answers with invalid JSON: trying again in 1 s" in capsys.readouterr().out
    assert files_of(repo_name) == {"README.md"}
