"""A Hugging Face Hub on loopback, with the parts that huggingface_hub's client needs.

>>> with HubServer() as hub:
...     first = hub.commit("org/name", {"model.safetensors": b"..."})
...     hub.requests  # all requests so far

The headers, error codes and upload answers are those that huggingface_hub 2.4 reads in
``file_download.py``, ``utils/_http.py``, ``_commit_api.py`` and ``hf_api.py``. Files are served
without redirects, and uploaded inside the commit, as small files are. To add an endpoint, add a
line in ``ROUTES`` and a method.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = r"/api/models/(?P<repo>[^/]+/[^/]+)"

ROUTES = {
    "resolve": r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)",
    "create_repo": r"/api/repos/create",
    "model_info": MODEL + r"(/revision/(?P<revision>[^/]+))?",
    "validate_card": r"/api/validate-yaml",
    "preupload": MODEL + r"/preupload/(?P<revision>[^/]+)",
    "take_commit": MODEL + r"/commit/(?P<revision>[^/]+)",
}
"""Method of :class:`Handler` to path."""


@dataclass
class Repo:
    """Files by commit, commits by branch; ``denied`` is (status, X-Error-Code) for all clients."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    denied: tuple[int, str] | None = None
    private: bool = False


@dataclass(frozen=True)
class Request:
    method: str
    path: str


class HubServer:
    """Repositories at ``url``, while the ``with`` block lasts.

    Attributes:
        repos: by id; tests may change them between requests.
        requests: all answered requests, in order.
        datasets: names that are taken, but not by models.
        writers: by token, the names of the organisations that the token may write to.
        refusals: route to the status that all clients get.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.datasets: set[str] = set()
        self.writers: dict[str, set[str]] = {}
        self.refusals: dict[str, int] = {}
        self.requests: list[Request] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.hub = self
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.running = True
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse all further connections."""
        if self.running:
            self.http.shutdown()
            self.http.server_close()
            self.running = False

    def commit(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Make a commit with exactly these files the head of ``branch``; return its id."""
        stored = self.repos.setdefault(repo, Repo())
        commit = hashlib.sha1(repr((repo, len(stored.commits), sorted(files))).encode()).hexdigest()
        stored.commits[commit] = dict(files)
        stored.branches[branch] = commit
        return commit

    def bodies(self) -> list[str]:
        """Names of the files whose bytes were requested, in order."""
        return [r.path.rsplit("/", 1)[1] for r in self.requests if r.method == "GET"]


class Handler(BaseHTTPRequestHandler):
    """Answers one request. HTTP/1.0, so that no connection stays open after the server stops."""

    def answer(self) -> None:
        # An unread body would break the connection before the client sees the answer.
        self.body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        for name, pattern in ROUTES.items():
            if match := re.fullmatch(pattern, self.path):
                if name in self.hub.refusals:
                    return self.refuse(self.hub.refusals[name], "")
                return getattr(self, name)(**match.groupdict())
        return self.refuse(404, "NotFound")

    do_HEAD = do_GET = do_POST = do_PUT = answer

    def resolve(self, repo: str, revision: str, file: str) -> None:
        """``/org/name/resolve/revision/file``: HEAD for the metadata, GET for the bytes."""
        stored = self.hub.repos.get(repo)
        if stored is None:
            return self.refuse(404, "RepoNotFound")
        if stored.denied is not None:
            return self.refuse(*stored.denied)
        if stored.token and self.headers["Authorization"] != f"Bearer {stored.token}":
            return self.refuse(401, "RepoNotFound")
        commit = stored.branches.get(revision, revision)
        if commit not in stored.commits:
            return self.refuse(404, "RevisionNotFound")
        if file not in stored.commits[commit]:
            return self.refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        return self.send_file(stored.commits[commit][file], commit)

    def send_file(self, content: bytes, commit: str) -> None:
        tag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": commit, "Content-Length": len(content)}
        self.begin(200, headers)
        if self.command == "GET":
            self.wfile.write(content)

    # upload, in the order of the client's requests

    def create_repo(self) -> None:
        """``create_repo``: needs a token that may write there, unless the repo exists."""
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        if not self.may_write(repo):
            return None
        url = f"{self.hub.url}/{repo}"
        if repo in self.hub.repos or repo in self.hub.datasets:
            return self.send_json({"error": "You already created this repo", "url": url}, 409)
        self.hub.repos[repo] = Repo(private=asked.get("visibility") == "private")
        if self.hub.repos[repo].private:
            self.hub.repos[repo].token = self.token
        self.hub.commit(repo, {".gitattributes": b""})
        return self.send_json({"url": url})

    def model_info(self, repo: str, revision: str | None) -> None:
        stored = self.hub.repos.get(repo)
        if stored is None or (stored.token and self.token != stored.token):
            return self.refuse(404, "RepoNotFound")
        head = stored.branches[revision or "main"]
        files = [{"rfilename": name} for name in stored.commits[head]]
        return self.send_json(
            {"id": repo, "sha": head, "private": stored.private, "siblings": files}
        )

    def validate_card(self) -> None:
        """The Hub checks the metadata of ``README.md``; here all of it is fine."""
        self.send_json({"errors": [], "warnings": []})

    def preupload(self, repo: str, revision: str) -> None:
        """All files go into the commit, without a separate storage for large files."""
        if not self.may_write(repo):
            return None
        stored = self.hub.repos[repo]
        head = stored.commits[stored.branches[revision]]
        answers = []
        for file in json.loads(self.body)["files"]:
            answer = {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
            if (there := head.get(file["path"])) is not None:
                answer["oid"] = hashlib.sha1(b"blob %d\0" % len(there) + there).hexdigest()
            answers.append(answer)
        return self.send_json({"files": answers})

    def take_commit(self, repo: str, revision: str) -> None:
        """Replace files of the branch's head; the request has one JSON object per line."""
        if not self.may_write(repo):
            return None
        stored = self.hub.repos[repo]
        files = dict(stored.commits[stored.branches[revision]])
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
        commit = self.hub.commit(repo, files, revision)
        return self.send_json(
            {"commitUrl": f"{self.hub.url}/{repo}/commit/{commit}", "commitOid": commit}
        )

    def may_write(self, repo: str) -> bool:
        """Whether the token allows writing; if not, send the answer."""
        if self.token not in self.hub.writers:
            self.refuse(401, "", {"X-Error-Message": "Invalid credentials in Authorization header"})
            return False
        if repo.split("/")[0] not in self.hub.writers[self.token]:
            self.refuse(403, "", {"X-Error-Message": "You don't have the rights"})
            return False
        return True

    def send_json(self, value: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.begin(status, {"Content-Type": "application/json", "Content-Length": len(content)})
        self.wfile.write(content)

    @property
    def token(self) -> str:
        return (self.headers["Authorization"] or "").removeprefix("Bearer ")

    def refuse(self, status: int, code: str, headers: dict[str, Any] | None = None) -> None:
        self.begin(status, {"X-Error-Code": code, "Content-Length": 0, **(headers or {})})

    def begin(self, status: int, headers: dict[str, Any]) -> None:
        self.hub.requests.append(Request(self.command, self.path))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    @property
    def hub(self) -> HubServer:
        return self.server.hub

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""
