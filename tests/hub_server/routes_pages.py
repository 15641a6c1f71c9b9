"""Pages for people: what there is, and each repository's card and files, so that links to the Hub open in a browser."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from .messages import REV, WEB_REPO, HubError, Reply, Request, Routes
from .objects import Repo, iso, split_card
from .routes_discussions import find_discussion
from .routes_repositories import visible_repos
from .store import Store

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2937 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f8fa; padding: 1rem; border-radius: .5rem }
table { border-collapse: collapse } td { padding: .15rem 1.5rem .15rem 0 } td.size { text-align: right }
a { color: #1d4ed8 } small { color: #6b7280 }
"""
HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    "x-content-type-options": "nosniff",
}

routes = Routes()


def page(title: str, content: str, status: int = 200) -> Reply:
    """`title` is escaped here, `content` by who made it."""
    html = (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{content}\n</body>\n</html>\n"
    )
    return Reply(html, status, dict(HEADERS))


def error_page(error: HubError) -> Reply:
    return page(str(error.status), f"<p>{escape(error.message)}</p>\n<p>{link('Hub', '')}</p>", error.status)


def link(text: str, *address: str) -> str:
    """`address`: the parts between the slashes, each quoted here, so that a slash in a revision stays in it."""
    href = "/".join(quote(part, safe="") for part in address)
    return f'<a href="/{escape(href)}">{escape(text)}</a>'


def labels(repo: Repo) -> str:
    return f"<small>{'private' if repo.private else 'public'}{', gated' if repo.gated else ''}</small>"


@routes("GET", "/", for_people=True)
def index(store: Store, request: Request):
    sections = []
    for repo_type in ("dataset", "model", "space"):
        repos = [repo for repo in visible_repos(store, request) if repo.type == repo_type]
        rows = "".join(f"<li>{link(repo.id, *repo.path.split('/'))} {labels(repo)}</li>\n" for repo in repos)
        sections.append(f"<h2>{repo_type.capitalize()}s</h2>\n<ul>\n{rows or '<li>none</li>'}</ul>")
    return page("Loopback Hub", "\n".join(sections))


@routes("GET", WEB_REPO, for_people=True)
@routes("GET", WEB_REPO + "/(?:tree|commit)/" + REV, for_people=True)
def repo_page(store: Store, request: Request, repo_type: str, repo_id: str, rev: str = "main"):
    repo = store.get(repo_type, repo_id, request.user)
    store.need_access(repo, request.user)
    oid = store.resolve(repo, rev)
    commit = repo.commits[oid]
    metadata, text = split_card(store.text(commit.files.get("README.md")))
    rows = []
    for path, file in sorted(commit.files.items()):
        name = link(path, *repo.path.split("/"), "resolve", rev, *path.split("/"))
        kind = "LFS" if file.lfs else ""
        rows.append(f'<tr><td>{name}</td><td class="size">{file.size:,}</td><td><small>{kind}</small></td></tr>')
    newest = f"{oid[:10]} {commit.title}, {commit.author}, {iso(commit.date)}"
    content = [
        f"<p>{link('Hub', '')} / {escape(repo.type)} {labels(repo)}<br><small>{escape(newest)}</small></p>",
        f"<pre>{escape(text)}</pre>" if text.strip() else "<p>No card yet.</p>",
        f"<details><summary>Metadata</summary><pre>{escape(metadata)}</pre></details>" if metadata else "",
        f"<h2>Files ({len(commit.files)})</h2>\n<table>\n{''.join(rows)}</table>",
        "<h2>Revisions</h2>\n<p>" + ", ".join(refs_of(repo)) + "</p>",
    ]
    return page(repo.id, "\n".join(content))


@routes("GET", WEB_REPO + r"/discussions/(?P<num>\d+)", for_people=True)
def discussion_page(store: Store, request: Request, repo_type: str, repo_id: str, num: str):
    repo = store.get(repo_type, repo_id, request.user)
    store.need_access(repo, request.user)
    discussion = find_discussion(repo, num)
    about = f"{discussion.status} by {discussion.author}"
    proposed = link(discussion.ref, *repo.path.split("/"), "tree", discussion.ref) if discussion.base else ""
    content = [f"<p>{link(repo.id, *repo.path.split('/'))}<br><small>{escape(about)} {proposed}</small></p>"]
    for event in discussion.events:
        said = event["data"]["latest"]["raw"] if event["type"] == "comment" else event["type"]
        content.append(f"<p><small>{escape(event['author']['name'])}</small></p><pre>{escape(said)}</pre>")
    return page(f"#{discussion.num} {discussion.title}", "\n".join(content))


def refs_of(repo: Repo) -> list[str]:
    names = [ref if ref.startswith("refs/pr/") else ref.split("/", 2)[2] for ref in sorted(repo.refs)]
    return [link(name, *repo.path.split("/"), "tree", name) for name in names]
