"""The loopback Hub answers as the Hub does: every call here goes over HTTP, most through the libraries themselves."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.hub_server import User, serve

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "hf_test"
USERS = {TOKEN: User("tester", orgs=("org",))}
LFS_BYTES = bytes(range(256)) * 40
SHA256 = hashlib.sha256(LFS_BYTES).hexdigest()


@pytest.fixture
def api(hub):
    from huggingface_hub import HfApi

    return HfApi()


@pytest.fixture
def own_hub(tmp_path):
    """A Hub for one test, where it matters what lies in its folder (`tmp_path / "hub"`)."""
    server = serve(tmp_path / "hub", USERS)
    yield server
    server.stop()


def call(method: str, url: str, body: bytes | dict | None = None, token: str | None = TOKEN, **headers: str):
    """`(status, headers, body)` of a plain HTTP request."""
    if isinstance(body, dict):
        body, headers = json.dumps(body).encode(), {"content-type": "application/json", **headers}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, body, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def commit_body(*operations: dict, summary: str = "a commit") -> bytes:
    lines = [{"key": "header", "value": {"summary": summary}}, *operations]
    return "\n".join(json.dumps(line) for line in lines).encode()


def file_operation(path: str, content: bytes = b"x") -> dict:
    content = base64.b64encode(content).decode()
    return {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}}


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# -- files ---------------------------------------------------------------------------------------------------


def test_upload_and_download(api, hub, repo_name, tmp_path):
    url = api.create_repo(repo_name)
    assert str(url) == f"{hub.endpoint}/{repo_name}"
    assert api.list_repo_files(repo_name) == [".gitattributes"]
    api.upload_file(repo_id=repo_name, path_in_repo="notes/a b.txt", path_or_fileobj=b"hello\n")
    commit = api.upload_file(repo_id=repo_name, path_in_repo="model.safetensors", path_or_fileobj=LFS_BYTES)
    assert api.repo_info(repo_name).sha == commit.oid

    text, weights = api.get_paths_info(repo_name, ["notes/a b.txt", "model.safetensors"])
    assert (text.size, text.blob_id, text.lfs) == (6, "ce013625030ba8dba906f756967f9e9ca394464a", None)
    assert (weights.size, weights.lfs.sha256) == (len(LFS_BYTES), SHA256)
    assert Path(api.hf_hub_download(repo_name, "notes/a b.txt")).read_bytes() == b"hello\n"
    folder = Path(api.snapshot_download(repo_name, local_dir=tmp_path / "copy"))
    assert (folder / "model.safetensors").read_bytes() == LFS_BYTES

    asked = len(hub.log)
    api.hf_hub_download(repo_name, "model.safetensors")
    api.hf_hub_download(repo_name, "model.safetensors")
    downloads = [entry for entry in hub.log[asked:] if entry[0] == "GET" and "/resolve/" in entry[1]]
    assert len(downloads) == 1, "what is in the cache is not downloaded again"


def test_what_did_not_change_is_not_uploaded_again(api, hub, repo_name):
    api.create_repo(repo_name)
    files = {"weights.bin": LFS_BYTES, "config.json": b"{}"}
    for path, content in files.items():
        api.upload_file(repo_id=repo_name, path_in_repo=path, path_or_fileobj=content)
    head, asked = api.repo_info(repo_name).sha, len(hub.log)
    for path, content in files.items():
        api.upload_file(repo_id=repo_name, path_in_repo=path, path_or_fileobj=content)
    assert api.repo_info(repo_name).sha == head
    traffic = [(method, path) for method, path, _ in hub.log[asked:]]
    assert not [entry for entry in traffic if entry[0] == "PUT" or "/commit/" in entry[1]]


def test_delete_and_copy_in_one_commit(api, repo_name):
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    api.create_repo(repo_name)
    operations = [CommitOperationAdd("old/a.txt", b"a"), CommitOperationAdd("old/w.bin", LFS_BYTES)]
    api.create_commit(repo_name, operations, commit_message="add")
    operations = [CommitOperationCopy("old/w.bin", "w.bin"), CommitOperationDelete("old/")]
    api.create_commit(repo_name, operations, commit_message="move")
    assert sorted(api.list_repo_files(repo_name)) == [".gitattributes", "w.bin"]
    assert [commit.title for commit in api.list_repo_commits(repo_name)] == ["move", "add", "initial commit"]


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
def test_names_are_git_s_own(api, repo_name, tmp_path):
    paths = ["x/a/b.txt", "x/a-b.txt", "x/a.txt", "x/a/c/d.txt", "x/a0/e.txt", "ä/ü.txt"]  # git sorts `a` as `a/`
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path, encoding="utf-8")
    api.create_repo(repo_name)
    api.upload_folder(repo_id=repo_name, folder_path=tmp_path)

    def git(*arguments: str) -> str:
        command = ["git", "-c", "core.quotepath=off", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    git("add", *paths)
    lines = [line.split("\t") for line in git("ls-tree", "-r", "-t", git("write-tree").strip()).splitlines()]
    expected = {path: about.split()[2] for about, path in lines}
    entries = api.list_repo_tree(repo_name, recursive=True)
    found = {e.path: getattr(e, "tree_id", None) or e.blob_id for e in entries if e.path != ".gitattributes"}
    assert found == expected


def test_folder_listing(api, repo_name, monkeypatch):
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.errors import EntryNotFoundError

    from tests.hub_server import routes_files

    api.create_repo(repo_name)
    first = api.create_commit(
        repo_name, [CommitOperationAdd("a/1", b"1"), CommitOperationAdd("b", b"1")], commit_message="1"
    )
    second = api.create_commit(repo_name, [CommitOperationAdd("a/2", b"2")], commit_message="2")
    monkeypatch.setattr(routes_files, "PAGE_SIZE", 2)  # the client follows the links from page to page
    changed = {e.path: e.last_commit.oid for e in api.list_repo_tree(repo_name, recursive=True, expand=True)}
    assert changed.pop(".gitattributes") not in (first.oid, second.oid)
    assert changed == {"a": second.oid, "a/1": first.oid, "a/2": second.oid, "b": first.oid}
    assert [e.path for e in api.list_repo_tree(repo_name)] == [".gitattributes", "a", "b"]
    assert [e.path for e in api.list_repo_tree(repo_name, "a")] == ["a/1", "a/2"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(repo_name, "nowhere"))


@pytest.mark.parametrize(
    ("asked", "status", "content_range", "expected"),
    [
        ("bytes=0-9", 206, "bytes 0-9/10240", LFS_BYTES[:10]),
        ("bytes=10000-", 206, "bytes 10000-10239/10240", LFS_BYTES[10000:]),
        ("bytes=-5", 206, "bytes 10235-10239/10240", LFS_BYTES[-5:]),
        ("bytes=10230-999999", 206, "bytes 10230-10239/10240", LFS_BYTES[10230:]),
        ("bytes=10240-", 416, "bytes */10240", b""),
        ("bytes=-", 200, None, LFS_BYTES),
    ],
)
def test_range(api, hub, repo_name, asked, status, content_range, expected):
    api.create_repo(repo_name)
    api.upload_file(repo_id=repo_name, path_in_repo="w.bin", path_or_fileobj=LFS_BYTES)
    got, headers, body = call("GET", f"{hub.endpoint}/{repo_name}/resolve/main/w.bin", range=asked)
    assert (got, headers["content-range"], body) == (status, content_range, expected)


# -- who may do what -----------------------------------------------------------------------------------------


def test_who_am_i(api):
    from huggingface_hub.errors import HfHubHTTPError

    me = api.whoami()
    assert (me["name"], [org["name"] for org in me["orgs"]]) == ("tester", ["org"])
    assert api.whoami(token="hf_read")["auth"]["accessToken"]["role"] == "read"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_nobody", cache=False)


def test_private_repositories_do_not_exist_for_strangers(api, hub, repo_name):
    from huggingface_hub.errors import RepositoryNotFoundError

    api.create_repo(repo_name, private=True)
    api.upload_file(repo_id=repo_name, path_in_repo="a.txt", path_or_fileobj=b"secret")
    for token, status in ((False, 401), ("hf_other", 404), ("hf_read", 404)):
        for ask in (
            api.repo_info,
            api.list_repo_files,
            lambda name, token: api.hf_hub_download(name, "a.txt", token=token),
        ):
            with pytest.raises(RepositoryNotFoundError) as error:
                ask(repo_name, token=token)
            assert error.value.response.status_code == status
        assert repo_name not in [repo.id for repo in api.list_models(author="org", token=token)]
        assert call("GET", f"{hub.endpoint}/{repo_name}", token=token or None)[0] == status
    assert repo_name in [repo.id for repo in api.list_models(author="org")]
    api.update_repo_settings(repo_name, private=False)
    assert Path(api.hf_hub_download(repo_name, "a.txt", token=False)).read_bytes() == b"secret"


def test_only_write_tokens_of_the_owner_write(api, repo_name):
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    api.create_repo(repo_name)
    for token in ("hf_read", "hf_other"):
        with pytest.raises(HfHubHTTPError, match="403"):
            api.upload_file(repo_id=repo_name, path_in_repo="a.txt", path_or_fileobj=b"a", token=token)
        with pytest.raises(HfHubHTTPError, match="403"):
            api.delete_repo(repo_name, token=token)
        with pytest.raises(HfHubHTTPError, match="403"):
            api.create_repo(f"{repo_name}-2", token=token)
    with pytest.raises(HfHubHTTPError, match="403"):  # a token that only reads, in its own namespace
        api.create_repo("reader/own", token="hf_read")
    assert api.list_repo_files(repo_name) == [".gitattributes"]
    api.delete_repo(repo_name)
    with pytest.raises(RepositoryNotFoundError):
        api.repo_info(repo_name)


def test_gated_files_are_for_those_who_were_let_in(api, repo_name):
    from huggingface_hub.errors import GatedRepoError

    api.create_repo(repo_name)
    api.upload_file(repo_id=repo_name, path_in_repo="a.txt", path_or_fileobj=b"a")
    api.update_repo_settings(repo_name, gated="manual")
    assert api.repo_info(repo_name, token="hf_other").gated == "manual"
    for token in (False, "hf_other"):
        with pytest.raises(GatedRepoError):
            api.hf_hub_download(repo_name, "a.txt", token=token)
    assert Path(api.hf_hub_download(repo_name, "a.txt")).read_bytes() == b"a"


def test_names(api, repo_name):
    from huggingface_hub.errors import BadRequestError, HfHubHTTPError

    api.create_repo(repo_name)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(repo_name.upper().replace("ORG/", "org/"))
    assert api.create_repo(repo_name, exist_ok=True).repo_id == repo_name
    api.create_repo(repo_name, repo_type="dataset")  # each type has names of its own
    status, _, _ = call("POST", f"{api.endpoint}/api/repos/create", {"name": "../x", "organization": "org"})
    assert status == 400
    api.move_repo(repo_name, f"{repo_name}-moved")
    assert api.repo_exists(f"{repo_name}-moved") and not api.repo_exists(repo_name)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.move_repo(f"{repo_name}-moved", "other/taken")
    with pytest.raises(BadRequestError):
        api.move_repo(f"{repo_name}-moved", "org/a..b")


def test_missing_revisions_and_files(api, repo_name):
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    api.create_repo(repo_name)
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(repo_name, "nothing.txt")
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download(repo_name, ".gitattributes", revision="nowhere")
    with pytest.raises(RepositoryNotFoundError):
        api.hf_hub_download("org/nobody-made-this", "a.txt")


# -- branches, tags, pull requests ---------------------------------------------------------------------------


def test_branches_and_tags(api, repo_name):
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    api.create_repo(repo_name)
    first = api.upload_file(repo_id=repo_name, path_in_repo="a.txt", path_or_fileobj=b"1").oid
    api.create_tag(repo_name, tag="v1")
    api.create_branch(repo_name, branch="feature/x")
    second = api.upload_file(repo_id=repo_name, path_in_repo="a.txt", path_or_fileobj=b"2", revision="feature/x").oid
    refs = api.list_repo_refs(repo_name)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": first, "feature/x": second}
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": first}
    for revision, content in (("v1", b"1"), ("feature/x", b"2"), (second, b"2"), ("main", b"1")):
        assert Path(api.hf_hub_download(repo_name, "a.txt", revision=revision)).read_bytes() == content

    for again in (
        lambda: api.create_tag(repo_name, tag="v1"),
        lambda: api.create_branch(repo_name, branch="feature/x"),
    ):
        with pytest.raises(HfHubHTTPError, match="409"):
            again()
    with pytest.raises(RevisionNotFoundError):
        api.upload_file(repo_id=repo_name, path_in_repo="a.txt", path_or_fileobj=b"3", revision="v1")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.delete_branch(repo_name, branch="main")
    api.delete_branch(repo_name, branch="feature/x")
    api.delete_tag(repo_name, tag="v1")
    refs = api.list_repo_refs(repo_name)
    assert ([ref.name for ref in refs.branches], refs.tags) == (["main"], [])

    api.super_squash_history(repo_name)
    assert len(api.list_repo_commits(repo_name)) == 1
    assert "a.txt" in api.list_repo_files(repo_name)


def propose(api, repo_name: str, path: str, content: bytes, **options):
    commit = api.upload_file(repo_id=repo_name, path_in_repo=path, path_or_fileobj=content, create_pr=True, **options)
    return commit.pr_num


def test_pull_request_of_a_stranger_is_merged_by_the_owner(api, repo_name):
    from huggingface_hub.errors import HfHubHTTPError

    api.create_repo(repo_name)
    api.upload_file(repo_id=repo_name, path_in_repo="old", path_or_fileobj=b"old")
    number = propose(api, repo_name, "w.bin", LFS_BYTES, commit_message="weights", token="hf_other")
    api.upload_file(repo_id=repo_name, path_in_repo="b", path_or_fileobj=b"b", revision="refs/pr/1", token="hf_other")
    api.upload_file(repo_id=repo_name, path_in_repo="c", path_or_fileobj=b"c")  # main moves on meanwhile
    api.delete_file("old", repo_name, revision="refs/pr/1", token="hf_other")
    [found] = api.get_repo_discussions(repo_name, discussion_type="pull_request", discussion_status="open")
    assert (found.num, found.title, found.author) == (number, "weights", "other")
    assert "w.bin" not in api.list_repo_files(repo_name)
    assert Path(api.hf_hub_download(repo_name, "w.bin", revision="refs/pr/1")).read_bytes() == LFS_BYTES

    for token in ("hf_other", "hf_read"):
        with pytest.raises(HfHubHTTPError, match="403"):
            api.merge_pull_request(repo_name, number, token=token)
    with pytest.raises(HfHubHTTPError, match="403"):
        propose(api, repo_name, "d", b"d", token="hf_read")
    api.merge_pull_request(repo_name, number, comment="thank you")
    assert sorted(api.list_repo_files(repo_name)) == [".gitattributes", "b", "c", "w.bin"]
    details = api.get_discussion_details(repo_name, number)
    assert (details.status, details.merge_commit_oid) == ("merged", api.repo_info(repo_name).sha)
    assert "thank you" in [getattr(event, "content", None) for event in details.events]
    with pytest.raises(HfHubHTTPError, match="not an open pull request"):
        api.merge_pull_request(repo_name, number)


def test_pull_request_that_conflicts_is_not_merged(api, repo_name):
    from huggingface_hub.errors import HfHubHTTPError

    api.create_repo(repo_name)
    numbers = [propose(api, repo_name, "a.txt", content) for content in (b"one", b"two")]
    api.merge_pull_request(repo_name, numbers[0])
    assert api.get_discussion_details(repo_name, numbers[1]).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.merge_pull_request(repo_name, numbers[1])
    assert Path(api.hf_hub_download(repo_name, "a.txt")).read_bytes() == b"one"
    api.change_discussion_status(repo_name, numbers[1], "closed")
    assert [d.num for d in api.get_repo_discussions(repo_name, discussion_status="open")] == []


def test_draft_and_discussion(api, repo_name):
    from huggingface_hub.errors import HfHubHTTPError

    api.create_repo(repo_name)
    draft = api.create_pull_request(repo_name, title="later")
    assert draft.status == "draft"
    with pytest.raises(HfHubHTTPError, match="not an open pull request"):
        api.merge_pull_request(repo_name, draft.num)
    talk = api.create_discussion(repo_name, title="a question", description="why?", token="hf_other")
    api.comment_discussion(repo_name, talk.num, "because", token="hf_test")
    api.rename_discussion(repo_name, talk.num, "an answer", token="hf_other")
    talk = api.get_discussion_details(repo_name, talk.num)
    assert (talk.title, [e.content for e in talk.events if e.type == "comment"]) == ("an answer", ["why?", "because"])
    with pytest.raises(HfHubHTTPError, match="404"):
        api.merge_pull_request(repo_name, 99)


def test_stale_parent_commit_is_refused(api, repo_name):
    from huggingface_hub.errors import HfHubHTTPError

    api.create_repo(repo_name)
    before = api.repo_info(repo_name).sha
    after = api.upload_file(repo_id=repo_name, path_in_repo="a", path_or_fileobj=b"1", parent_commit=before).oid
    with pytest.raises(HfHubHTTPError, match="412"):
        api.upload_file(repo_id=repo_name, path_in_repo="a", path_or_fileobj=b"2", parent_commit=before)
    assert api.repo_info(repo_name).sha == after
    number = propose(api, repo_name, "b", b"2", parent_commit=before)  # a pull request may start at an older commit
    assert sorted(api.list_repo_files(repo_name, revision=f"refs/pr/{number}")) == [".gitattributes", "b"]


# -- what is refused, and what is left on disk ---------------------------------------------------------------


def test_lfs_content_that_is_not_what_its_name_says_leaves_nothing(own_hub, tmp_path):
    url = f"{own_hub.endpoint}/lfs/{SHA256}"
    status, _, body = call("PUT", url, LFS_BYTES + b"!")
    assert status == 400 and b"sha256 mismatch" in body
    assert call("PUT", f"{own_hub.endpoint}/lfs/..%2Flock", b"x")[0] == 404
    assert files_below(tmp_path / "hub") == ["lock"]
    assert call("PUT", url, LFS_BYTES)[0] == 200
    assert files_below(tmp_path / "hub") == [f"blobs/{SHA256}", "lock"]
    assert call("POST", f"{url}/verify", {"size": len(LFS_BYTES)})[0] == 200
    assert call("POST", f"{url}/verify", {"size": 1})[0] == 400


def test_requests_that_break_off_leave_nothing(own_hub, tmp_path):
    base = f"{own_hub.endpoint}/api/models/org/a"
    assert call("POST", f"{own_hub.endpoint}/api/repos/create", {"name": "a", "organization": "org"})[0] == 200
    before, answered = files_below(tmp_path / "hub"), len(own_hub.log)
    body = commit_body(file_operation("a.txt"), file_operation("b.txt"))
    for method, path, part in (
        ("PUT", f"/lfs/{SHA256}", LFS_BYTES[:5000]),
        ("POST", "/api/models/org/a/commit/main", body[: body.rindex(b"\n") + 1]),  # whole lines: a smaller commit
    ):
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hf_test\r\nContent-Length: 99999\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(own_hub.endpoint.rsplit(":", 1)[1]))) as connection:
            connection.sendall(head.encode() + part)
            if method == "PUT":  # the connection is closed while the file is being written
                wait_until(lambda: any((tmp_path / "hub/incoming").iterdir()))
    wait_until(lambda: not any((tmp_path / "hub/incoming").iterdir()))
    assert call("GET", base)[0] == 200
    assert files_below(tmp_path / "hub") == before
    assert [status for _, _, status in own_hub.log[answered:]] == [200]
    siblings = json.loads(call("GET", base)[2])["siblings"]
    assert [sibling["rfilename"] for sibling in siblings] == [".gitattributes"]


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


BAD_REQUESTS = [
    ("/api/repos/create", b"{", 400),
    ("/api/repos/create", b"[]", 400),
    ("/api/repos/create", b"{}", 400),
    ("/api/repos/create", b"\xff\xfe", 400),
    ("/api/repos/create", b'{"name": 5}', 400),
    ("/api/repos/create", b'{"name": "b", "type": "bucket"}', 400),
    ("/api/validate-yaml", b'{"content": null}', 400),
    ("/api/models/org/a/preupload/main", b'{"files": [{"path": "x"}]}', 400),
    ("/api/models/org/a/preupload/main", b'{"files": ["x"]}', 400),
    ("/api/models/org/a/preupload/main", b'{"files": [{"path": "x", "size": 1, "sample": "%"}]}', 400),
    ("/api/models/org/a/preupload/nowhere", b'{"files": []}', 404),
    (
        "/org/a.git/info/lfs/objects/batch",
        b'{"operation": "upload", "objects": [{"oid": "../lock", "size": 1}]}',
        400,
    ),
    ("/org/a.git/info/lfs/objects/batch", b'{"operation": "upload", "objects": 1}', 400),
    ("/api/models/org/a/commit/main", b"", 400),
    ("/api/models/org/a/commit/main", b'{"key": "header"}', 400),
    ("/api/models/org/a/commit/main", b'{"key": "header", "value": {}}', 400),
    ("/api/models/org/a/commit/main", commit_body(file_operation("../x")), 422),
    ("/api/models/org/a/commit/main", commit_body(file_operation("/x")), 422),
    ("/api/models/org/a/commit/main", commit_body(file_operation("a//x")), 422),
    ("/api/models/org/a/commit/main", commit_body(file_operation(".git/config")), 422),
    ("/api/models/org/a/commit/main", commit_body(file_operation("a\\x")), 422),
    ("/api/models/org/a/commit/main", commit_body({"key": "format", "value": {"path": "x"}}), 400),
    ("/api/models/org/a/commit/main", commit_body({"key": "file", "value": {"path": "x", "content": "?"}}), 400),
    (
        "/api/models/org/a/commit/main",
        commit_body({"key": "lfsFile", "value": {"path": "x", "oid": "../lock"}}),
        400,
    ),
    ("/api/models/org/a/commit/main", commit_body({"key": "lfsFile", "value": {"path": "x", "oid": SHA256}}), 400),
    ("/api/models/org/a/commit/main", commit_body(*map(file_operation, ["a", "a-b", "a/b"])), 400),
    ("/api/models/org/a/commit/nowhere", commit_body(file_operation("x")), 404),
    ("/api/models/org/a/tag/main", b'{"tag": "../x"}', 400),
    ("/api/models/org/a/branch/refs%2Fpr%2F1", b"{}", 400),
    ("/api/models/org/a/discussions", b'{"description": "no title"}', 400),
    ("/api/models/org/a/discussions/1/merge", b"{}", 404),
    ("/api/models/org/a/super-squash/nowhere", b"{}", 404),
]


def test_malformed_requests_are_the_client_s_error(own_hub, tmp_path, capfd):
    assert call("POST", f"{own_hub.endpoint}/api/repos/create", {"name": "a", "organization": "org"})[0] == 200
    [state] = (tmp_path / "hub/repos").iterdir()
    before = state.read_bytes()
    answers = [(path, body, call("POST", own_hub.endpoint + path, body)[0]) for path, body, _ in BAD_REQUESTS]
    assert answers == BAD_REQUESTS
    assert call("GET", f"{own_hub.endpoint}/api/models/org/a/tree/main?cursor=x")[0] == 400
    assert state.read_bytes() == before
    assert files_below(tmp_path / "hub/repos") == [state.name]
    assert "Traceback" not in capfd.readouterr().err


def test_a_fault_of_the_server_is_answered_and_printed(own_hub, monkeypatch, capfd):
    monkeypatch.setattr(own_hub.app.store, "users", None)
    status, _, body = call("GET", f"{own_hub.endpoint}/api/whoami-v2")
    assert status == 500 and b"traceback" in body
    assert "TypeError" in capfd.readouterr().err


# -- the process ---------------------------------------------------------------------------------------------


def test_everything_is_there_after_a_restart(tmp_path):
    from huggingface_hub import HfApi

    first = serve(tmp_path / "hub", USERS)
    api = HfApi(first.endpoint, token="hf_test")
    api.create_repo("org/first-name", repo_type="dataset", private=True)
    api.move_repo("org/first-name", "org/a", repo_type="dataset")
    api.create_repo("org/deleted")
    api.delete_repo("org/deleted")
    api.upload_file(repo_id="org/a", repo_type="dataset", path_in_repo="w.parquet", path_or_fileobj=LFS_BYTES)
    api.create_tag("org/a", repo_type="dataset", tag="v1")
    number = propose(api, "org/a", "b.txt", b"b", repo_type="dataset")
    info = api.dataset_info("org/a", files_metadata=True)
    with pytest.raises(BlockingIOError, match="another Hub serves"):
        serve(tmp_path / "hub", USERS)
    first.stop()
    (tmp_path / "hub/incoming/half-an-upload").write_bytes(b"half")

    second = serve(tmp_path / "hub", USERS, port=int(first.endpoint.rsplit(":", 1)[1]))
    try:
        assert second.endpoint == first.endpoint
        assert not any((tmp_path / "hub/incoming").iterdir())
        api = HfApi(second.endpoint, token="hf_test")
        assert api.dataset_info("org/a", files_metadata=True) == info
        assert [*api.list_models()] == [] and [repo.id for repo in api.list_datasets()] == ["org/a"]
        path = api.hf_hub_download(
            "org/a", "w.parquet", repo_type="dataset", revision="v1", local_dir=tmp_path / "copy"
        )
        assert Path(path).read_bytes() == LFS_BYTES
        api.merge_pull_request("org/a", number, repo_type="dataset")
        assert api.file_exists("org/a", "b.txt", repo_type="dataset")
    finally:
        second.stop()


@pytest.mark.parametrize(("how", "returncode"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_from_a_terminal(tmp_path, how, returncode):
    command = [sys.executable, "-m", "tests.hub_server", "--root", tmp_path / "hub", "--open_pages"]
    command += ["--namespace", "demo", "--token", "hf_mine"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("Hub on http://127.0.0.1:")
            endpoint = line.removeprefix("Hub on ").strip()
            created = call("POST", f"{endpoint}/api/repos/create", {"name": "a", "private": True}, token="hf_mine")
            assert json.loads(created[2])["id"] == "demo/a"
            assert call("GET", f"{endpoint}/demo/a", token=None)[0] == 200
        finally:
            process.send_signal(how)
            stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout, stderr) == (returncode, "", "")
    [state] = (tmp_path / "hub/repos").iterdir()
    assert json.loads(state.read_text())["id"] == "demo/a"


def test_requests_at_the_same_time_are_all_kept(api, repo_name):
    api.create_repo(repo_name)

    def upload(n: int) -> None:
        api.upload_file(repo_id=repo_name, path_in_repo=f"{n}.bin", path_or_fileobj=LFS_BYTES[: 5000 + n % 2])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, range(16)))
    assert set(api.list_repo_files(repo_name)) == {".gitattributes", *(f"{n}.bin" for n in range(16))}
    assert len(api.list_repo_commits(repo_name)) == 17


def test_answers_do_not_wait_for_delayed_acknowledgements(hub):
    """A request on an open connection takes 40 ms where Nagle's algorithm is on."""
    from tests.conftest import SERVER

    connection = http.client.HTTPConnection(hub.endpoint.removeprefix("http://"))
    connection.request("GET", "/api/whoami-v2")
    assert connection.getresponse().read()
    open_sockets = [one.transport.get_extra_info("socket") for one in SERVER._server.server_state.connections]
    (own,) = [one for one in open_sockets if one.getpeername() == connection.sock.getsockname()]
    assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    connection.close()


# -- pages for people ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("repo_type", ["model", "dataset", "space"])
def test_pages_show_the_card_and_the_files(api, hub, repo_name, repo_type):
    options = {"space_sdk": "static"} if repo_type == "space" else {}
    url = api.create_repo(repo_name, repo_type=repo_type, **options)
    card = b"---\nlicense: mit\n---\n# A card\n<script>alert(1)</script>"
    api.upload_file(repo_id=repo_name, repo_type=repo_type, path_in_repo="README.md", path_or_fileobj=card)
    name = "a <b>#?.txt"
    api.upload_file(repo_id=repo_name, repo_type=repo_type, path_in_repo=name, path_or_fileobj=b"<i>")
    status, headers, body = call("GET", str(url), token=None)
    page = body.decode()
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "# A card" in page and "license: mit" in page and "a &lt;b&gt;#?.txt" in page
    assert "<script>" not in page and "<b>#" not in page
    [link] = [part.split('"')[0] for part in page.split('href="')[1:] if "a%20%3Cb" in part.split('"')[0]]
    status, headers, body = call("GET", hub.endpoint + link, token=None)
    assert (status, headers["content-type"], body) == (200, "text/plain; charset=utf-8", b"<i>")
    assert f'href="/{str(url).removeprefix(hub.endpoint + "/")}"' in call("GET", hub.endpoint, token=None)[2].decode()


def test_pages_of_revisions_and_pull_requests(api, hub, repo_name):
    api.create_repo(repo_name)
    card = b"---\nlicense: mit\n---\n# new <"
    commit = api.upload_file(repo_id=repo_name, path_in_repo="README.md", path_or_fileobj=card, create_pr=True)
    for url in (commit.commit_url, f"{hub.endpoint}/{repo_name}/tree/refs%2Fpr%2F1"):
        assert "# new &lt;" in call("GET", url)[2].decode()
    assert "No card yet" in call("GET", f"{hub.endpoint}/{repo_name}")[2].decode()
    assert "tree/refs%2Fpr%2F1" in call("GET", commit.pr_url)[2].decode()
    status, headers, _ = call("GET", f"{hub.endpoint}/{repo_name}/tree/nowhere", accept="text/html")
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_private_pages_are_open_only_where_the_server_was_told_so(tmp_path):
    from huggingface_hub import HfApi

    for open_pages, expected in ((False, 401), (True, 200)):
        server = serve(tmp_path / str(open_pages), USERS, open_pages=open_pages)
        try:
            api = HfApi(server.endpoint, token="hf_test")
            api.create_repo("org/a", private=True)
            for path in ("/org/a", "/org/a/resolve/main/.gitattributes"):
                assert call("GET", server.endpoint + path)[0] == 200
                assert call("GET", server.endpoint + path, token=None)[0] == expected
                # what a page elsewhere would reach this server by
                assert call("GET", server.endpoint + path, token=None, host="hub.example.org")[0] == 401
            assert call("GET", f"{server.endpoint}/api/models/org/a", token=None)[0] == 401
            assert ("org/a" in call("GET", server.endpoint, token=None)[2].decode()) is open_pages
        finally:
            server.stop()


# -- the libraries -------------------------------------------------------------------------------------------


def test_cards(api, hub, repo_name):
    from huggingface_hub import ModelCard, metadata_update

    api.create_repo(repo_name)
    card = ModelCard("---\nlicense: mit\ntags: [x-ray]\ndate: 2026-01-31 10:00:00\n---\n# Hello\n")
    card.push_to_hub(repo_name)
    metadata_update(repo_name, {"pipeline_tag": "image-to-text"})
    assert ModelCard.load(repo_name).data.license == "mit"
    info = api.model_info(repo_name)
    assert (info.pipeline_tag, info.tags, info.card_data["date"]) == ("image-to-text", ["x-ray"], "2026-01-31T10:00:00")
    assert [repo.id for repo in api.list_models(author="org", filter="x-ray", search=repo_name)] == [repo_name]
    assert [*api.list_models(author="org", filter="mri", search=repo_name)] == []
    invalid = b"---\nlicense: [mit\n---\n# Hello\n"
    with pytest.raises(ValueError, match="Invalid metadata in README"):
        api.upload_file(repo_id=repo_name, path_in_repo="README.md", path_or_fileobj=invalid)
    for strange in (b"---\n- a\n- list\n---\n", b"---\ntags: 5\n---\n", b"---\n[\n---\n", b"\xff\xfe"):
        body = commit_body(file_operation("README.md", strange))
        assert call("POST", f"{hub.endpoint}/api/models/{repo_name}/commit/main", body)[0] == 200
        assert call("GET", f"{hub.endpoint}/api/models/{repo_name}")[0] == 200
        assert call("GET", f"{hub.endpoint}/{repo_name}")[0] == 200


def test_datasets_with_two_configs(repo_name):
    from datasets import Dataset, DatasetDict, load_dataset

    rows = {"text": [f"row {n}" for n in range(20)], "label": list(range(20))}
    pairs = Dataset.from_dict(rows)
    splits = DatasetDict({"train": pairs.select(range(15)), "test": pairs.select(range(15, 20))})
    splits.push_to_hub(repo_name, "pairs", set_default=True, num_shards={"train": 3, "test": 1}, private=True)
    DatasetDict({"train": Dataset.from_dict({"turns": [["hi", "there"]]})}).push_to_hub(repo_name, "chat")

    loaded = load_dataset(repo_name)
    assert {name: split.num_rows for name, split in loaded.items()} == {"train": 15, "test": 5}
    assert loaded["train"][:] == {"text": rows["text"][:15], "label": rows["label"][:15]}
    assert load_dataset(repo_name, "chat", split="train")[0] == {"turns": ["hi", "there"]}
    streamed = load_dataset(repo_name, "pairs", split="train", streaming=True)
    assert (streamed.num_shards, [row["label"] for row in streamed]) == (3, rows["label"][:15])


def test_model_push_and_load(repo_name, hub):
    import torch
    from transformers import AutoModel, SiglipConfig, SiglipModel

    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**tower, "vocab_size": 32, "max_position_embeddings": 8, "projection_size": 16}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config={**tower, "image_size": 16, "patch_size": 8}))
    model.push_to_hub(repo_name, private=True)
    loaded = AutoModel.from_pretrained(repo_name)
    assert type(loaded) is SiglipModel
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    asked = len(hub.log)
    AutoModel.from_pretrained(repo_name)
    assert not [entry for entry in hub.log[asked:] if entry[0] == "GET" and "/resolve/" in entry[1] and entry[2] == 200]
    with pytest.raises(OSError, match=r"not a valid model identifier|private"):
        AutoModel.from_pretrained(repo_name, token="hf_other", force_download=True)


METRIC = """
import datasets
import evaluate


class Share(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description="d", citation="c", inputs_description="i", features=features)

    def _compute(self, predictions, references):
        return {"share": sum(p == r for p, r in zip(predictions, references)) / len(references)}
"""


def test_metric_space(api):
    import evaluate

    api.create_repo("org/share_of_hits", repo_type="space", space_sdk="gradio")
    api.upload_file(
        repo_id="org/share_of_hits",
        repo_type="space",
        path_in_repo="share_of_hits.py",
        path_or_fileobj=METRIC.encode(),
    )
    metric = evaluate.load("org/share_of_hits")
    assert metric.compute(predictions=[1, 2, 3, 4], references=[1, 2, 3, 5]) == {"share": 0.75}


def test_leaderboard(api, repo_name):
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.errors import HfHubHTTPError

    def upload(repo: str, path: str, content, **options) -> None:
        content = content if isinstance(content, bytes) else yaml.safe_dump(content).encode()
        api.upload_file(repo_id=repo, path_in_repo=path, path_or_fileobj=content, **options)

    def results(*entries: EvalResultEntry) -> list[dict]:
        return eval_result_entries_to_yaml(list(entries))

    api.create_repo(repo_name, repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="404"):
        api.get_dataset_leaderboard(repo_name)
    spec = {"name": "b", "description": "d", "tasks": [{"id": "t2i"}]}
    upload(repo_name, "eval.yaml", spec, repo_type="dataset")

    models = {letter: f"{repo_name}-{letter}" for letter in "abc"}
    for model in models.values():
        api.create_repo(model)
    hidden = f"{repo_name}-hidden"
    api.create_repo(hidden, private=True)
    mine = EvalResultEntry(
        repo_name, "t2i", 0.5, notes="zero-shot", date="2026-01-31", source_url="https://example.org"
    )
    elsewhere = [EvalResultEntry(repo_name, "another-task", 0.9), EvalResultEntry("org/another-dataset", "t2i", 0.9)]
    upload(models["a"], ".eval_results/r.yaml", results(mine, *elsewhere))
    upload(models["b"], ".eval_results/r.yaml", results(EvalResultEntry(repo_name, "t2i", 0.7)))
    upload(models["b"], "README.md", b"---\nbase_model: org/something\n---\n")
    upload(models["c"], ".eval_results/bad.yaml", [{"dataset": {"id": repo_name}, "value": 1.0}])
    upload(models["c"], ".eval_results/worse.yaml", b"[")
    proposal = results(EvalResultEntry(repo_name, "t2i", 0.6))
    upload(models["c"], ".eval_results/r.yaml", proposal, create_pr=True, token="hf_other")
    upload(hidden, ".eval_results/r.yaml", results(EvalResultEntry(repo_name, "t2i", 0.99)))

    def rows(**options) -> list[tuple]:
        return [(row.rank, row.model_id, row.value) for row in api.get_dataset_leaderboard(repo_name, **options)]

    a, b, c = ((models[letter], value) for letter, value in zip("abc", (0.5, 0.7, 0.6), strict=True))
    public = {"token": "hf_other", "base_model_only": False}
    assert rows(token="hf_other") == [(1, *c), (2, *a)], "a model that names its base is left out unless asked for"
    assert rows(**public) == [(1, *b), (2, *c), (3, *a)]
    assert rows()[0] == (1, hidden, 0.99)
    community, own = api.get_dataset_leaderboard(repo_name, token="hf_other")
    assert (community.pull_request, own.pull_request, own.notes) == (1, None, "zero-shot")
    assert own.author.name == "org"
    entry, *_ = api.model_info(models["a"], expand=["evalResults"]).eval_results
    assert (entry.value, entry.date, entry.source_url) == (0.5, "2026-01-31", "https://example.org")
    assert api.model_info(models["c"], expand=["evalResults"]).eval_results == []


# -- the fixtures of conftest.py -----------------------------------------------------------------------------


def test_commands_run_against_this_hub(run, hub, tmp_path):
    code = "import os, sys; print(os.getcwd(), os.environ['HF_ENDPOINT'], os.environ['HF_HOME'], os.environ.get('X'))"
    result = run("python", "-c", code, cwd=tmp_path, env={"X": "1"}, fresh_home=True)
    folder, endpoint, home, value = result.stdout.split()
    assert (folder, endpoint, value) == (str(tmp_path), hub.endpoint, "1")
    assert home != os.environ["HF_HOME"] and not any(Path(home).iterdir())
    assert run("python", "-c", code, env={"X": None}).stdout.split()[0] == str(ROOT)


def test_a_failed_command_says_what_it_printed(run):
    code = "import sys; print('said'); sys.exit('broke')"
    with pytest.raises(AssertionError, match=r"(?s)exit code 1.*said.*broke"):
        run("python", "-c", code)
    assert run("python", "-c", code, check=False).returncode == 1
    with pytest.raises(AssertionError, match=r"(?s)no end after 1 s.*said"):
        run("sh", "-c", "echo said; sleep 600", timeout=1)


# -- a Hub that is not well --------------------------------------------------------------------------------


def test_a_fault_is_answered_as_often_as_it_says(repo_name, hub):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    api.create_repo(repo_name)
    hub.fault("GET", repo_name, 503, times=2, headers={"retry-after": "7"})
    for _ in range(2):
        with pytest.raises(HfHubHTTPError) as caught:
            api.model_info(repo_name)
        assert caught.value.response.status_code == 503 and caught.value.response.headers["retry-after"] == "7"
    assert api.model_info(repo_name).id == repo_name
    hub.fault("POST", "/commit/", 504, done=True)
    with pytest.raises(HfHubHTTPError):
        api.upload_file(repo_id=repo_name, path_or_fileobj=b"x", path_in_repo="x")
    assert api.file_exists(repo_name, "x")
