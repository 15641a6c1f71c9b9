"""Branches, tags and history."""

from __future__ import annotations

import re

from .messages import API_REPO, REV, HubError, Request, Routes
from .objects import MAIN, iso
from .store import Store

NAME = r"(?P<name>[^/]+)"

routes = Routes()


@routes("GET", API_REPO + "/refs")
def list_refs(store: Store, request: Request, repo_type: str, repo_id: str):
    repo = store.get(repo_type, repo_id, request.user)
    kinds = {"heads": [], "tags": [], "pr": []}
    for ref, oid in repo.refs.items():
        _, kind, name = ref.split("/", 2)
        kinds[kind].append({"name": ref if kind == "pr" else name, "ref": ref, "targetCommit": oid})
    return {"branches": kinds["heads"], "converts": [], "tags": kinds["tags"], "pullRequests": kinds["pr"]}


@routes("GET", API_REPO + "/commits/" + REV)
def list_commits(store: Store, request: Request, repo_type: str, repo_id: str, rev: str):
    repo = store.get(repo_type, repo_id, request.user)
    return [
        {
            "id": oid,
            "title": commit.title,
            "message": commit.message,
            "date": iso(commit.date),
            "authors": [{"user": commit.author, "avatar": ""}],
        }
        for oid, commit in repo.history(store.resolve(repo, rev))
    ]


def new_ref(store: Store, request: Request, repo_type: str, repo_id: str, kind: str, name: str, rev: str) -> dict:
    repo, ref = store.get(repo_type, repo_id, request.user, write=True), f"refs/{kind}/{name}"
    if not re.fullmatch(r"\w[\w.+/-]*", name) or re.search(r"\.\.|//|[./]$|\.lock$", name) or name.startswith("refs/"):
        raise HubError(400, f"Invalid reference name {name!r}")
    commit = store.resolve(repo, rev)
    if ref in repo.refs:
        raise HubError(409, f"Reference exists already: {ref}")
    repo.refs[ref] = commit
    store.save(repo)
    return {"ref": ref}


@routes("POST", API_REPO + "/branch/" + NAME)
def create_branch(store: Store, request: Request, repo_type: str, repo_id: str, name: str):
    return new_ref(
        store, request, repo_type, repo_id, "heads", name, request.json().maybe("startingPoint", str, "main")
    )


@routes("POST", API_REPO + "/tag/" + REV)
def create_tag(store: Store, request: Request, repo_type: str, repo_id: str, rev: str):
    return new_ref(store, request, repo_type, repo_id, "tags", request.json().need("tag", str), rev)


@routes("DELETE", API_REPO + "/(?P<kind>branch|tag)/" + NAME)
def delete_ref(store: Store, request: Request, repo_type: str, repo_id: str, kind: str, name: str):
    repo = store.get(repo_type, repo_id, request.user, write=True)
    ref = f"refs/{'heads' if kind == 'branch' else 'tags'}/{name}"
    if ref == MAIN:
        raise HubError(403, "The main branch cannot be deleted")
    if repo.refs.pop(ref, None) is None:
        raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")
    store.save(repo)
    return {}


@routes("POST", API_REPO + "/super-squash/" + REV)
def super_squash(store: Store, request: Request, repo_type: str, repo_id: str, rev: str):
    """One commit without a parent in place of the branch's history."""
    repo = store.get(repo_type, repo_id, request.user, write=True)
    ref, title = store.branch(repo, rev), request.json().maybe("message", str, f"Super-squash branch '{rev}'")
    store.commit(repo, ref, repo.files(repo.refs[ref]), title, author=request.user.name)
    return {}
