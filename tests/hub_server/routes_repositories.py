"""The account, and repositories as a whole: create, delete, move, settings, list, describe."""

from __future__ import annotations

import yaml

from .messages import API_REPO, REV, HubError, Reply, Request, Routes
from .objects import MAIN, REPO_TYPES, Repo, iso, split_card
from .routes_results import results_of
from .store import Store

routes = Routes()


@routes("GET", r"/api/whoami-v2")
def whoami(store: Store, request: Request):
    user = request.need_user()
    return {
        "type": "user",
        "id": user.name,
        "name": user.name,
        "fullname": user.name,
        "email": f"{user.name}@example.org",
        "emailVerified": True,
        "isPro": False,
        "canPay": False,
        "orgs": [{"type": "org", "id": o, "name": o, "fullname": o, "roleInOrg": user.role} for o in user.orgs],
        "auth": {
            "type": "access_token",
            "accessToken": {"displayName": "loopback", "role": user.role, "createdAt": iso(0)},
        },
    }


@routes("POST", r"/api/validate-yaml")
def validate_yaml(store: Store, request: Request):
    """Clients ask this before they commit a README.md."""
    block, _ = split_card(request.json().need("content", str))
    errors, warnings = [], []
    try:
        metadata = yaml.safe_load(block or "")
        if metadata is None:
            warnings.append({"message": "empty or missing yaml metadata in repo card"})
        elif not isinstance(metadata, dict):
            errors.append({"message": "metadata must be a mapping"})
    except yaml.YAMLError as error:
        errors.append({"message": str(error)})
    return Reply({"errors": errors, "warnings": warnings}, status=400 if errors else 200)


def repo_url(request: Request, repo: Repo) -> str:
    return f"{request.base_url}/{repo.path}"


def named_in_body(request: Request) -> tuple[str, str]:
    data, user = request.json(), request.need_user()
    namespace = data.maybe("organization", str, user.name)
    return data.maybe("type", str, "model"), f"{namespace}/{data.need('name', str)}"


@routes("POST", r"/api/repos/create")
def create_repo(store: Store, request: Request):
    (repo_type, repo_id), data = named_in_body(request), request.json()
    store.check_new_id(repo_type, repo_id)
    store.need_write(repo_id.split("/")[0], request.user)
    repo = store.find(repo_type, repo_id)
    if repo:  # exist_ok=True reads `url` out of this answer
        raise HubError(409, f"You already created this {repo_type} repo", body={"url": repo_url(request, repo)})
    private = data.get("visibility") == "private" or data.get("private") is True
    repo = store.create(repo_type, repo_id, private, data.maybe("sdk", str))
    return {"url": repo_url(request, repo), "name": repo.id, "id": repo.id}


@routes("DELETE", r"/api/repos/delete")
def delete_repo(store: Store, request: Request):
    store.delete(store.get(*named_in_body(request), request.user, write=True))
    return {}


@routes("POST", r"/api/repos/move")
def move_repo(store: Store, request: Request):
    data = request.json()
    repo_type, new_id = data.maybe("type", str, "model"), data.need("toRepo", str)
    repo = store.get(repo_type, data.need("fromRepo", str), request.user, write=True)
    store.check_new_id(repo_type, new_id)
    store.need_write(new_id.split("/")[0], request.user)
    if store.find(repo_type, new_id) not in (None, repo):
        raise HubError(409, f"{new_id} exists already")
    store.move(repo, new_id)
    return {}


@routes("PUT", API_REPO + r"/settings")
def settings(store: Store, request: Request, repo_type: str, repo_id: str):
    repo, data = store.get(repo_type, repo_id, request.user, write=True), request.json()
    if "visibility" in data:
        repo.private = data.need("visibility", str) == "private"
    if "private" in data:
        repo.private = data.need("private", bool)
    if "gated" in data:
        if data["gated"] not in ("auto", "manual", False):
            raise HubError(400, "'gated' has to be auto, manual or false")
        repo.gated = data["gated"]
    store.save(repo)
    return {"private": repo.private, "gated": repo.gated}


@routes("GET", API_REPO + r"/auth-check")
def auth_check(store: Store, request: Request, repo_type: str, repo_id: str):
    store.need_access(store.get(repo_type, repo_id, request.user), request.user)
    return {}


@routes("GET", rf"/api/(?P<repo_type>{'|'.join(REPO_TYPES)})s")
def list_repos(store: Store, request: Request, repo_type: str):
    found = []
    for repo in visible_repos(store, request):
        if repo.type != repo_type or request.query.get("author") not in (None, repo.namespace):
            continue
        if not all(part.lower() in repo.id.lower() for part in request.all("search")):
            continue
        about = describe(store, repo, repo.refs[MAIN])
        labels = {*about["tags"], about.get("library_name"), about.get("pipeline_tag")}
        if labels.issuperset(request.all("filter")):
            found.append(about)
    return found[: request.number("limit", len(found))]


def visible_repos(store: Store, request: Request) -> list[Repo]:
    return [repo for repo in store.repos.values() if not repo.private or store.can_read(repo, request.user)]


@routes("GET", API_REPO)
@routes("GET", API_REPO + "/revision/" + REV)
def repo_info(store: Store, request: Request, repo_type: str, repo_id: str, rev: str = "main"):
    repo = store.get(repo_type, repo_id, request.user)
    commit = store.resolve(repo, rev)
    about, files = describe(store, repo, commit), repo.files(commit)
    about["siblings"] = siblings = []
    about["usedStorage"] = sum(file.size for file in files.values())
    for path, file in sorted(files.items()):
        siblings.append({"rfilename": path})
        if request.flag("blobs"):
            siblings[-1] |= {"size": file.size, "blobId": file.oid}
            if file.lfs:
                siblings[-1]["lfs"] = {**file.lfs_json, "sha256": file.sha256}
    if "evalResults" in request.all("expand"):
        about["evalResults"] = [result.for_model_page() for result in results_of(store, repo, pull_requests=False)]
    return about


def describe(store: Store, repo: Repo, commit: str) -> dict:
    """What a list of repositories says of each."""
    card = store.card(repo, commit)
    tags = card.get("tags") or []
    about = {
        "_id": repo.key[:24],
        "id": repo.id,
        "author": repo.namespace,
        "sha": commit,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [str(tag) for tag in (tags if isinstance(tags, list) else [tags])],
        "createdAt": iso(repo.created),
        "lastModified": iso(repo.commits[commit].date),
        "cardData": card or None,
    }
    if repo.type == "model":
        about |= {
            "modelId": repo.id,
            "library_name": card.get("library_name"),
            "pipeline_tag": card.get("pipeline_tag"),
            "model-index": card.get("model-index"),
        }
    if repo.type == "space":
        about["sdk"] = repo.sdk or card.get("sdk")
    return about
