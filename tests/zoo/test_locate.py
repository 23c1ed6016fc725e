"""Which file a source selects, with and without a manifest entry of that name."""

import json
import re
from pathlib import Path

import pytest
import torch

from derefl.errors import CheckpointError, ConfigError, ModelNotFoundError
from derefl.zoo import Located, find_model, load_model, locate, read_header
from tests.zoo.net import KIND, build, entry, make_net, same, save_net

BUNDLED = {"bundled": "weights/net-small.safetensors", "hub": None}


def load(source, **options):
    return load_model(source, kind=KIND, build=build, **options)


@pytest.fixture
def folder(package, tmp_path, monkeypatch):
    """A local folder ``./mine`` with ``make_net(1)`` in the Hub's layout."""
    monkeypatch.chdir(tmp_path)
    path = save_net(tmp_path / "mine" / "model.safetensors", make_net(1))
    (path.parent / "config.json").write_text(json.dumps(read_header(path)))
    return path.parent


@pytest.fixture
def bundled(package, list_in_manifest):
    """The bundled file of ``net-small``, with ``make_net(0)``."""
    path = save_net(package / BUNDLED["bundled"], make_net(0))
    list_in_manifest(entry(path, where=BUNDLED))
    return path


def test_a_bundled_name(bundled):
    listed = find_model("net-small")
    assert locate("net-small", kind=KIND) == Located(bundled, None, listed.sha256, listed)
    assert same(load("net-small"), make_net(0))
    downloading = {"token": "t", "local_files_only": True, "cache_dir": "/nowhere"}
    assert same(load("net-small", **downloading), make_net(0))
    assert same(load("net-small", force_download=True), make_net(0))
    with pytest.raises(ModelNotFoundError, match="'net-small' is a model of kind 'derefl'"):
        locate("net-small", kind="lcdh-student")
    with pytest.raises(ModelNotFoundError, match="Did you mean 'net-small'"):
        load("net-smal")
    save_net(bundled, make_net(1))
    with pytest.raises(CheckpointError, match=r"has the sha256 .* expected .*reinstall derefl"):
        load("net-small")
    bundled.unlink()
    with pytest.raises(ModelNotFoundError, match=r"missing from this installation: reinstall"):
        load("net-small")


def test_an_unpublished_name(tmp_path, list_in_manifest):
    list_in_manifest(entry(save_net(tmp_path / "net.safetensors", make_net())))
    with pytest.raises(ModelNotFoundError, match="'net-small' are not published yet"):
        load("net-small")


def test_a_revision_of_something_that_has_none(bundled, folder):
    for source in ("net-small", "mine", folder, folder / "model.safetensors"):
        with pytest.raises(ConfigError, match=r"got revision='v1', but .*leave revision out"):
            load(source, revision="v1")


def test_a_local_file(folder):
    path = folder / "model.safetensors"
    for source in (path, str(path), "mine/model.safetensors"):
        assert same(load(source), make_net(1))
    assert locate(path, kind=KIND) == Located(path)


def test_a_local_folder(folder):
    for source in (folder, str(folder), "mine", "./mine", Path("mine")):
        assert same(load(source), make_net(1))
    assert locate(folder, kind=KIND) == Located(
        folder / "model.safetensors", folder / "config.json"
    )


def test_a_folder_named_like_a_hub_repo_is_local(folder):
    folder.parent.joinpath("org").mkdir()
    folder.rename(folder.parent / "org" / "net")
    assert same(load("org/net"), make_net(1))


def test_a_name_wins_over_a_folder_unless_it_is_written_as_a_path(bundled, folder):
    folder.rename(folder.parent / "net-small")
    assert same(load("net-small"), make_net(0))
    assert same(load("./net-small"), make_net(1))
    assert same(load(Path("net-small")), make_net(1))


@pytest.mark.parametrize(
    "source",
    [
        "./none",
        "none/net.safetensors",
        "none.safetensors",
        "a/b/c",
        "/none",
        "none/",
        "none.pt",
        "none.onnx",
        "c++/none",
        "my models/none",
        "~nobody/none",
        Path("org/none"),
        Path("net-small"),
    ],
)
def test_a_path_that_does_not_exist(source, bundled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelNotFoundError, match=re.escape(f"there is no file or folder {source}, ")
    ):
        load(source)


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"has no model\.safetensors, expected"):
        load(folder)
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle"):
        load(folder)
