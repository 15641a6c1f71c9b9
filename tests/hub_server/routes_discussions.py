"""Discussions and pull requests: open, list, comment, close and merge."""

from __future__ import annotations

import time

from .messages import API_REPO, HubError, Request, Routes
from .objects import MAIN, Discussion, File, Repo, User, iso
from .store import Store, check_tree

DISCUSSION = API_REPO + r"/discussions/(?P<num>\d+)"

routes = Routes()


def open_discussion(
    repo: Repo, user: User, title: str, text: str, base: str | None = None, start: str | None = None, status="open"
) -> Discussion:
    """A discussion or, with `base` and `start`, a pull request that begins at the commit `start`. The caller saves."""
    number = len(repo.discussions) + 1
    discussion = Discussion(number, title, user.name, iso(time.time()), status, base, start)
    add_comment(discussion, user, text)
    repo.discussions[str(number)] = discussion
    if base:
        repo.refs[discussion.ref] = start
    return discussion


def add_event(discussion: Discussion, user: User, kind: str, data: dict) -> dict:
    event = {
        "id": f"{discussion.num}-{len(discussion.events)}",
        "type": kind,
        "author": {"name": user.name},
        "createdAt": iso(time.time()),
        "data": data,
    }
    discussion.events.append(event)
    return event


def add_comment(discussion: Discussion, user: User, text: str) -> dict:
    latest = {"raw": text, "html": text, "author": {"name": user.name}, "updatedAt": iso(time.time())}
    return add_event(discussion, user, "comment", {"edited": False, "hidden": False, "latest": latest, "history": []})


def discussion_json(repo: Repo, discussion: Discussion) -> dict:
    return {
        "num": discussion.num,
        "title": discussion.title,
        "status": discussion.status,
        "isPullRequest": discussion.base is not None,
        "author": {"name": discussion.author},
        "createdAt": discussion.created,
        "events": discussion.events,
        "repo": {"name": repo.id, "type": repo.type},
        "filesWithConflicts": merged_files(repo, discussion)[1] if discussion.status == "open" else [],
        "diff": "",
        "changes": {"base": discussion.base, "mergeCommitId": discussion.merge_commit},
    }


def find_discussion(repo: Repo, num: str) -> Discussion:
    if num not in repo.discussions:
        raise HubError(404, "Discussion not found")
    return repo.discussions[num]


@routes("GET", API_REPO + r"/discussions")
def list_discussions(store: Store, request: Request, repo_type: str, repo_id: str):
    repo, found = store.get(repo_type, repo_id, request.user), []
    for discussion in reversed(repo.discussions.values()):
        facts = {
            "type": "pull_request" if discussion.base else "discussion",
            "status": "closed" if discussion.status in ("closed", "merged") else "open",
            "author": discussion.author,
        }
        if all(request.query.get(key, "all") in ("all", fact) for key, fact in facts.items()):
            found.append(discussion_json(repo, discussion))
    return {"discussions": found, "count": len(found), "start": 0}


@routes("POST", API_REPO + r"/discussions")
def create_discussion(store: Store, request: Request, repo_type: str, repo_id: str):
    repo, data = store.get(repo_type, repo_id, request.user), request.json()
    store.need_write(request.need_user().name, request.user)
    title, text = data.need("title", str), data.maybe("description", str, "")
    if data.maybe("pullRequest", bool, False):
        # without a commit there is nothing to merge yet: a draft until its status is set to open
        discussion = open_discussion(repo, request.user, title, text, MAIN, repo.refs[MAIN], status="draft")
    else:
        discussion = open_discussion(repo, request.user, title, text)
    store.save(repo)
    return {"num": discussion.num}


@routes("GET", DISCUSSION)
def get_discussion(store: Store, request: Request, repo_type: str, repo_id: str, num: str):
    repo = store.get(repo_type, repo_id, request.user)
    return discussion_json(repo, find_discussion(repo, num))


@routes("POST", DISCUSSION + "/comment")
def comment(store: Store, request: Request, repo_type: str, repo_id: str, num: str):
    repo = store.get(repo_type, repo_id, request.user)
    store.need_write(request.need_user().name, request.user)
    event = add_comment(find_discussion(repo, num), request.user, request.json().need("comment", str))
    store.save(repo)
    return {"newMessage": event}


@routes("POST", DISCUSSION + "/(?P<what>status|title)")
def change_discussion(store: Store, request: Request, repo_type: str, repo_id: str, num: str, what: str):
    repo = store.get(repo_type, repo_id, request.user)
    discussion, user = find_discussion(repo, num), request.need_user()
    store.need_write(user.name if user.name == discussion.author else repo.namespace, user)
    data = request.json()
    new = data.need(what, str)
    if what == "title":
        event = add_event(discussion, user, "title-change", {"from": discussion.title, "to": new})
        discussion.title = new
        store.save(repo)
        return {"newTitle": event}
    if new not in ("open", "closed") or discussion.status == "merged":
        raise HubError(400, f"a discussion that is {discussion.status} cannot become {new!r}")
    if text := data.maybe("comment", str):
        add_comment(discussion, user, text)
    discussion.status = new
    event = add_event(discussion, user, "status-change", {"status": new})
    store.save(repo)
    return {"newStatus": event}


@routes("POST", DISCUSSION + "/merge")
def merge(store: Store, request: Request, repo_type: str, repo_id: str, num: str):
    """The pull request becomes one commit on its branch, upon whatever the branch holds by now."""
    repo = store.get(repo_type, repo_id, request.user, write=True)
    discussion, user = find_discussion(repo, num), request.user
    if discussion.base is None or discussion.status != "open":
        raise HubError(400, f"Discussion {num} is not an open pull request")
    parent = repo.refs[store.branch(repo, discussion.base)]
    files, conflicts = merged_files(repo, discussion)
    if conflicts:
        raise HubError(409, f"This pull request conflicts with its branch in {', '.join(conflicts)}")
    check_tree(files)
    if text := request.json().maybe("comment", str):
        add_comment(discussion, user, text)
    title = f"{discussion.title} (#{discussion.num})"
    add_event(discussion, user, "status-change", {"status": "merged"})
    discussion.status = "merged"
    discussion.merge_commit = store.commit(repo, discussion.base, files, title, author=user.name, parent=parent)
    store.save(repo)
    return {}


def merged_files(repo: Repo, discussion: Discussion) -> tuple[dict[str, File], list[str]]:
    """The branch's files with the pull request's changes, and the paths that both have changed differently."""
    if discussion.base not in repo.refs:
        return {}, []
    start, ours = repo.files(discussion.start), repo.files(repo.refs[discussion.base])
    theirs = repo.files(repo.refs[discussion.ref])
    files, conflicts = dict(ours), []
    for path in sorted({*start, *theirs}):
        before, after, now = start.get(path), theirs.get(path), ours.get(path)
        if after in (before, now):
            continue
        if now != before:
            conflicts.append(path)
        elif after is None:
            del files[path]
        else:
            files[path] = after
    return files, conflicts
