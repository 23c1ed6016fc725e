"""The real huggingface_hub client with a Hub on loopback."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from derefl.errors import CheckpointError, ConfigError, DownloadError, ModelNotFoundError
from derefl.zoo import load_model, read_header
from derefl.zoo.hub import explained
from tests.hub_server import Repo
from tests.zoo.net import KIND, build, entry, make_net, same, save_net

REPO = "org/net"


def load(source=REPO, **options):
    return load_model(source, kind=KIND, build=build, **options)


def repo_files(folder, seed):
    """A published net's files, by name."""
    path = save_net(folder / f"{seed}.safetensors", make_net(seed))
    return {
        "model.safetensors": path.read_bytes(),
        "config.json": json.dumps(read_header(path)).encode(),
        "README.md": b"# A net",
    }


@pytest.fixture
def commit(hub, package, tmp_path):
    """The only commit of ``org/net``, with ``make_net(0)``."""
    return hub.commit(REPO, repo_files(tmp_path, 0))


@pytest.fixture
def published(commit, tmp_path, list_in_manifest):
    """``net-small`` in the manifest, not bundled, at that commit."""
    where = {"bundled": None, "hub": {"repo": REPO, "revision": commit}}
    list_in_manifest(entry(tmp_path / "0.safetensors", where=where))
    return commit


def test_first_load_downloads_and_the_second_uses_the_cache(hub, commit, tmp_path):
    assert same(load(), make_net(0))
    assert hub.bodies() == ["model.safetensors", "config.json"]
    assert same(load(), make_net(0))
    assert len(hub.bodies()) == 2
    assert same(load(cache_dir=tmp_path / "elsewhere"), make_net(0))
    assert (tmp_path / "elsewhere" / "models--org--net").is_dir()
    hub.stop()
    assert same(load(local_files_only=True), make_net(0))
    assert same(load(), make_net(0))  # unreachable, but there is a cached copy
    with pytest.raises(ConfigError, match="expected at most one of them"):
        load(force_download=True, local_files_only=True)


def test_no_copy_and_no_hub(hub, commit, monkeypatch):
    off = r"org/net at revision 'main' is not in the local cache, .* switches the Hub off"
    with pytest.raises(DownloadError, match=off):
        load(local_files_only=True)
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        for options in ({}, {"force_download": True}):
            with pytest.raises(DownloadError, match=off):
                load(**options)
    huggingface_hub.close_session()
    assert hub.requests == []
    hub.stop()
    for options in ({}, {"force_download": True}):
        with pytest.raises(DownloadError, match=r"failed \(ConnectError.*HF_ENDPOINT") as got:
            load(**options)
        assert got.value.__cause__ is not None


def test_revision(hub, commit, tmp_path):
    second = hub.commit(REPO, repo_files(tmp_path, 1))
    hub.repos[REPO].branches["v1"] = commit
    assert same(load(), make_net(1))
    for revision, seed in ((commit, 0), ("v1", 0), (second, 1), ("main", 1)):
        assert same(load(revision=revision), make_net(seed))
    with pytest.raises(ModelNotFoundError, match="has no revision 'v2'") as got:
        load(revision="v2")
    assert isinstance(got.value.__cause__, huggingface_hub.errors.RevisionNotFoundError)


def test_both_files_come_from_one_commit(hub, commit, tmp_path):
    """The branch moves between the two requests."""
    files = repo_files(tmp_path, 1)
    files["config.json"] = json.dumps({"format_version": 2}).encode()

    class MovesOnce(dict):
        def get(self, key, default=None):
            found = super().get(key, default)
            if key == "main" and any(r.method == "GET" for r in hub.requests):
                found = hub.commit(REPO, files)
            return found

    hub.repos[REPO].branches = MovesOnce(main=commit)
    load()
    assert [r.path for r in hub.requests if r.path.endswith("config.json")] == [
        f"/{REPO}/resolve/{commit}/config.json"
    ] * 2


def test_private_and_missing(hub, commit, tmp_path):
    hub.repos[REPO].token = "secret"
    for token in (None, "wrong"):
        with pytest.raises(DownloadError, match=r"refused org/net \(status 401\).*HF_TOKEN") as got:
            load(token=token)
        assert got.value.__cause__.response.status_code == 401
    assert same(load(token="secret"), make_net(0))
    with pytest.raises(
        ModelNotFoundError, match=r"no Hub model repo org/none .*check the spelling"
    ):
        load("org/none")
    with pytest.raises(ModelNotFoundError, match="there is no file or folder org/no such name"):
        load("org/no such name")  # not a repo id, so a path
    hub.commit("org/empty", {})
    with pytest.raises(ModelNotFoundError, match=r"org/empty has no model\.safetensors"):
        load("org/empty")


@pytest.mark.parametrize(
    ("denied", "message"),
    [
        ((401, ""), r"refused org/net \(status 401\)"),
        ((403, ""), r"refused org/net \(status 403\)"),
        ((401, "GatedRepo"), "is gated: ask for access"),
        ((500, ""), r"failed \(HfHubHTTPError: .*500"),
    ],
)
def test_denied(hub, package, denied, message):
    hub.repos[REPO] = Repo(denied=denied)
    with pytest.raises(DownloadError, match=message) as got:
        load()
    assert got.value.__cause__ is not None


def test_config_json_may_be_missing_also_offline(hub, commit):
    del hub.repos[REPO].commits[commit]["config.json"]
    assert same(load(), make_net(0))
    assert same(load(local_files_only=True), make_net(0))


def test_force_download_repairs_the_cache(hub, published, tmp_path):
    assert same(load("net-small"), make_net(0))
    (cached,) = (tmp_path / "cache").rglob("model.safetensors")
    save_net(cached.resolve(), make_net(1))
    with pytest.raises(CheckpointError, match=f"Delete {cached.resolve()} and load the model"):
        load("net-small")
    assert same(load("net-small", force_download=True), make_net(0))
    assert hub.bodies() == ["model.safetensors", "config.json"] * 2
    cached.resolve().unlink()
    assert same(load("net-small"), make_net(0))
    assert same(load("net-small"), make_net(0))


def test_a_published_name_stays_at_its_commit(hub, published, tmp_path):
    second = hub.commit(REPO, repo_files(tmp_path, 1))
    assert same(load("net-small"), make_net(0))
    assert same(load("net-small", revision="main"), make_net(1))
    assert same(load("net-small", revision=second), make_net(1))
    assert same(load("net-small", revision=published), make_net(0))


def test_a_published_file_that_is_not_the_listed_one(hub, published, tmp_path):
    hub.repos[REPO].commits[published] = repo_files(tmp_path, 1)
    for revision in (None, published):
        with pytest.raises(CheckpointError, match=r"has the sha256 .*, expected "):
            load("net-small", revision=revision)


def test_a_bundled_name_asks_the_hub_only_for_a_revision(
    hub, published, package, tmp_path, list_in_manifest
):
    path = save_net(package / "weights" / "net-small.safetensors", make_net(2))
    hub_commit = {"repo": REPO, "revision": published}
    where = {"bundled": "weights/net-small.safetensors", "hub": hub_commit}
    list_in_manifest(entry(path, where=where))
    assert same(load("net-small"), make_net(2))
    assert hub.requests == []
    hub.commit(REPO, repo_files(tmp_path, 1))
    assert same(load("net-small", revision="main"), make_net(1))


def test_hf_endpoint_in_a_fresh_process(hub, commit, tmp_path):
    """The variable is read on import, and importing the zoo does not read it."""
    script = f"""
import sys
import derefl.zoo
assert "huggingface_hub" not in sys.modules, "imported too early"
from tests.zoo.net import KIND, build, make_net, same
assert same(derefl.zoo.load_model("{REPO}", kind=KIND, build=build), make_net(0))
"""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert hub.bodies() == ["model.safetensors", "config.json"]
    assert (tmp_path / "home" / "hub" / "models--org--net").is_dir()


def test_the_cause_of_a_vague_error_is_explained():
    """The client wraps errors of large files."""
    vague = RuntimeError("Error while uploading 'model.safetensors' to the Hub.")
    vague.__cause__ = OSError("No space left on device")
    message = r"failed \(OSError: No space left on device\)"
    assert re.search(message, str(explained(vague, "org/net")))
