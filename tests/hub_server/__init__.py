"""A Hugging Face Hub on loopback, for the tests and the demo.

`huggingface_hub`, `datasets`, `transformers` and `evaluate` talk to it as they talk to huggingface.co once
`HF_ENDPOINT` names it: repositories with real git blob and tree ids, LFS uploads checked by SHA-256, private and gated
repositories, tokens with roles, branches, tags, pull requests and the leaderboards made of `.eval_results/*.yaml`.
It needs `uvicorn` and `pyyaml` and imports no Hugging Face library, so a process can start it before it sets the
environment that those libraries read when they are imported. Set `HF_HUB_DISABLE_XET=1`: uploads come by LFS.

    hub = serve("hub-data", users={"hf_test": User("tester", "write", orgs=("org",))})
    os.environ["HF_ENDPOINT"] = hub.endpoint
    ...
    hub.stop()

`hub.faults` holds what it is to fail at: busy answers, lost ones, late ones.

From a terminal: `python -m tests.hub_server --root hub-data`.

| file | its question |
| --- | --- |
| `objects.py` | what is a repository, a commit, a file, and how does git name them |
| `blobs.py`, `store.py` | how are they kept on disk, and who may see and change them |
| `messages.py` | what is a request, a reply, an error, a route |
| `routes_*.py` | what does the Hub answer to each call |
| `app.py`, `server.py` | how does a call over HTTP reach its route, and how does the server start and stop |
"""

from .app import Fault
from .objects import User
from .server import HubServer, serve

__all__ = ["Fault", "HubServer", "User", "serve"]
