"""A Hugging Face Hub on loopback, as far as huggingface_hub's client needs one.

>>> with HubServer() as hub:
...     first = hub.commit("org/name", {"model.safetensors": b"..."})
...     hub.requests  # what was asked so far

Its headers and error codes are those that ``huggingface_hub/file_download.py`` and
``utils/_http.py`` (2.4) read. Files are served whole, without Xet and without redirects. A further
endpoint is a branch in ``Handler.answer``.
"""

import hashlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class Repo:
    """Files by commit, commits by branch; ``denied`` is (status, X-Error-Code) for everybody."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    denied: tuple[int, str] | None = None


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    status: int


class HubServer:
    """Repositories behind ``url``, from ``with`` on.

    Attributes:
        repos: by id; change them as you like between requests.
        requests: every one answered, in order.
        cuts: for each coming GET of a body, after how many bytes to drop the connection.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.cuts: list[int] = []
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
        """Refuse every further connection."""
        if self.running:
            self.http.shutdown()
            self.http.server_close()
            self.running = False

    def commit(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Make a commit with exactly these files the head of ``branch`` and return its id."""
        stored = self.repos.setdefault(repo, Repo())
        commit = hashlib.sha1(repr((repo, len(stored.commits), sorted(files))).encode()).hexdigest()
        stored.commits[commit] = dict(files)
        stored.branches[branch] = commit
        return commit

    def bodies(self) -> list[str]:
        """Names of the files whose bytes were asked for, in order."""
        return [r.path.rsplit("/", 1)[1] for r in self.requests if r.method == "GET"]


class Handler(BaseHTTPRequestHandler):
    """Answers one request. It speaks HTTP/1.0, so that no connection outlives the server."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        if match := RESOLVE.fullmatch(self.path):
            self.resolve(**match.groupdict())
        else:
            self.refuse(404, "NotFound")

    def resolve(self, repo: str, revision: str, file: str) -> None:
        """``/org/name/resolve/revision/file``: HEAD for what it is, GET for its bytes."""
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
        asked = self.headers["Range"]
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
            "Content-Length": len(content) - start,
        }
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.begin(206 if asked else 200, headers)
        if self.command == "GET":
            end = start + self.hub.cuts.pop(0) if self.hub.cuts else len(content)
            self.wfile.write(content[start:end])

    def refuse(self, status: int, code: str, headers: dict[str, Any] | None = None) -> None:
        self.begin(status, {"X-Error-Code": code, "Content-Length": 0, **(headers or {})})

    def begin(self, status: int, headers: dict[str, Any]) -> None:
        request = Request(self.command, self.path, self.headers["Range"], status)
        self.hub.requests.append(request)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    @property
    def hub(self) -> HubServer:
        return self.server.hub

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""
