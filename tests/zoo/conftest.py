"""A package folder for the test, a local Hub, and no connections beyond loopback."""

import json
import socket

import huggingface_hub
import pytest

from derefl.zoo import manifest
from tests.hub_server import HubServer


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch):
    """Fail on a connection to another machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), address
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder in place of the installed package; its manifest has no models yet."""
    folder = tmp_path / "package"
    (folder / "weights").mkdir(parents=True)
    monkeypatch.setattr(manifest, "package_folder", lambda: folder)
    write_manifest(folder)
    return folder


def write_manifest(folder, *entries):
    text = json.dumps({"format_version": 1, "models": entries})
    (folder / "weights_manifest.json").write_text(text)


@pytest.fixture
def list_in_manifest(package):
    """A function that replaces the manifest's entries."""
    return lambda *entries: write_manifest(package, *entries)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A local Hub for the client in this process, with an empty cache and no token."""
    constants = huggingface_hub.constants
    with HubServer() as server:
        # HF_ENDPOINT and similar variables are read once, on import; setting them here is too late.
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        # The client's waiting time between tries would dominate the tests.
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield server
    huggingface_hub.close_session()
