"""The real manifest against its files, and lookups in a test manifest."""

import json

import msgspec
import pytest
from safetensors.torch import load_file

from derefl.errors import ManifestError, ModelNotFoundError
from derefl.zoo import file_sha256, find_model, list_models, read_header
from derefl.zoo.manifest import HubCommit, bundled_file, manifest_file, read_manifest
from tests.zoo.net import entry, make_net, save_net

SCORE = {"dataset": "real20", "protocol": "native8", "n": 20, "command": "derefl …"}


def check_bundled(listed):
    """Check a bundled file against its entry."""
    path = bundled_file(listed)
    assert path is not None, f"{listed.where.bundled} is missing"
    assert (path.stat().st_size, file_sha256(path)) == (listed.bytes, listed.sha256)
    header = read_header(path)
    assert (header["kind"], header["config"]) == (listed.kind, listed.config)
    tensors = load_file(path)
    floating = [t for t in tensors.values() if t.is_floating_point()]
    assert {str(t.dtype) for t in floating} == {f"torch.{listed.dtype}"}
    # The file also has the batch norms' running statistics, which are not parameters.
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    counted = sum(t.numel() for name, t in tensors.items() if not name.endswith(statistics))
    assert counted == listed.parameters


def test_the_manifest_is_complete_and_true_of_the_bundled_files():
    models = list_models()
    assert len({listed.name for listed in models}) == len(models) > 0
    for listed in models:
        assert listed.training and listed.scores
        if listed.where.bundled is not None:
            check_bundled(listed)
    text = manifest_file().read_text("utf-8")
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "org/name"}, "regex .*models.0..name"),
        ({"name": "./net"}, "regex"),
        ({"kind": "other"}, "Invalid enum value 'other'"),
        ({"file": "../outside.safetensors"}, "regex"),
        ({"sha256": "0" * 63}, "regex"),
        ({"bytes": 0}, "`int` >= 1"),
        ({"dtype": "int8"}, "Invalid enum value"),
        ({"where": {"bundled": None}}, "missing required field `hub`"),
        ({"where": {"bundled": "../net.safetensors", "hub": None}}, "regex"),
        ({"where": {"bundled": "weights/../../net.safetensors", "hub": None}}, "regex"),
        ({"where": {"bundled": "/etc/hostname", "hub": None}}, "regex"),
        ({"where": {"bundled": "weights/net.safetensors\0", "hub": None}}, "regex"),
        ({"where": {"bundled": "weights/net.pt", "hub": None}}, "regex"),
        ({"where": {"bundled": None, "hub": {"repo": "a/b", "revision": "main"}}}, "regex"),
        ({"where": {"bundled": None, "hub": {"repo": "../..", "revision": "a" * 40}}}, "regex"),
        ({"training": {"data": ["a"]}}, "scores of net-small: .*missing required field `steps`"),
        ({"scores": [SCORE]}, "Expected `object` of length >= 1"),
        ({"scores": [SCORE | {"n": "20", "psnr": 21.0}]}, "Expected `int`, got `str`"),
        ({"scores": [SCORE | {"psnr": "high"}]}, "got `str`"),
        ({"extra": 1}, "unknown field `extra`"),
    ],
)
def test_an_invalid_entry_is_refused(package, list_in_manifest, changed, message):
    good = entry(save_net(package / "weights" / "net-small.safetensors", make_net()))
    list_in_manifest(good)
    assert [listed.name for listed in list_models()] == ["net-small"]
    list_in_manifest(good | changed)
    with pytest.raises(ManifestError, match=f"is not a valid manifest: .*{message}"):
        list_models()


@pytest.mark.parametrize(
    "text", [None, b"", b"\xff", b'{"a\xed"', b"[" * 100_000, b'{"models": []}']
)
def test_a_file_that_is_not_a_manifest(tmp_path, text):
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ManifestError, match=r"manifest\.json is not a valid manifest"):
        read_manifest(path)


def test_an_entry_is_read(package, list_in_manifest):
    path = save_net(package / "weights" / "net-small.safetensors", make_net())
    where = {
        "bundled": "weights/net-small.safetensors",
        "hub": {"repo": "org/net", "revision": "a" * 40},
    }
    written = entry(path, where=where, scores=[SCORE | {"psnr": 21.5}])
    list_in_manifest(written)
    (listed,) = list_models("derefl")
    assert listed.where.hub == HubCommit("org/net", "a" * 40)
    assert msgspec.to_builtins(listed) == written
    assert list_models("lcdh-student") == []
    assert find_model("net-small") == find_model("net-small", "derefl") == listed
    check_bundled(listed)


def test_an_unknown_name_lists_close_ones_or_all(tmp_path, list_in_manifest):
    path = save_net(tmp_path / "net.safetensors", make_net())
    list_in_manifest(entry(path, "net-small"), entry(path, "student", kind="lcdh-student"))
    with pytest.raises(ModelNotFoundError, match=r"'net-smal'.*Did you mean 'net-small'\?"):
        find_model("net-smal", "derefl")
    with pytest.raises(ModelNotFoundError, match=r"'zzz'.*of kind 'derefl'.*: 'net-small'\. "):
        find_model("zzz", "derefl")
    with pytest.raises(ModelNotFoundError, match=r"'zzz'.*: 'net-small', 'student'\. "):
        find_model("zzz")
    with pytest.raises(ModelNotFoundError, match="'student' is a model of kind 'lcdh-student'"):
        find_model("student", "derefl")
    list_in_manifest()
    with pytest.raises(ModelNotFoundError, match=r"derefl: none\. A local \.safetensors file"):
        find_model("zzz", "derefl")
