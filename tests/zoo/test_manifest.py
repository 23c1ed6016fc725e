"""The real manifest against its schema and files, and lookups in a test manifest."""

import json
from importlib.resources import files

import jsonschema
import pytest
from safetensors.torch import load_file

from derefl.errors import ModelNotFoundError
from derefl.zoo import file_sha256, find_model, list_models, read_header
from derefl.zoo.manifest import HubCommit, bundled_file, manifest_file
from tests.zoo.net import entry, make_net, save_net

SCHEMA = json.loads((files("derefl.zoo") / "manifest.schema.json").read_text("utf-8"))


def check(manifest):
    jsonschema.Draft202012Validator(SCHEMA).validate(manifest)


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


def test_the_manifest_follows_its_schema_and_names_are_unique():
    manifest = json.loads(manifest_file().read_text("utf-8"))
    check(manifest)
    names = [listed["name"] for listed in manifest["models"]]
    assert len(names) == len(set(names))
    assert [listed.name for listed in list_models()] == names


def test_every_bundled_file_is_what_the_manifest_says():
    for listed in list_models():
        if listed.where.bundled is not None:
            check_bundled(listed)


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "org/name"},
        {"name": "./net"},
        {"kind": "other"},
        {"sha256": "0" * 63},
        {"bytes": 0},
        {"dtype": "int8"},
        {"where": {"bundled": None}},
        {"where": {"bundled": "../net.safetensors", "hub": None}},
        {"where": {"bundled": None, "hub": {"repo": "org/name", "revision": "main"}}},
        {"training": {}},
        {"scores": [{"dataset": "real20", "protocol": "native8", "n": 20, "command": "derefl …"}]},
        {"scores": [{"dataset": "real20", "protocol": "native8", "n": 20, "psnr": 21.0}]},
        {"extra": 1},
    ],
)
def test_the_schema_refuses(tmp_path, changed):
    good = entry(save_net(tmp_path / "net.safetensors", make_net()))
    check({"format_version": 1, "models": [good]})
    with pytest.raises(jsonschema.ValidationError):
        check({"format_version": 1, "models": [good | changed]})


def test_an_entry_is_read_and_its_bundled_file_checked(package, list_in_manifest):
    path = save_net(package / "weights" / "net-small.safetensors", make_net())
    where = {
        "bundled": "weights/net-small.safetensors",
        "hub": {"repo": "org/net", "revision": "a" * 40},
    }
    score = {
        "dataset": "real20",
        "protocol": "native8",
        "n": 20,
        "psnr": 21.5,
        "command": "derefl evaluate reflection",
    }
    written = entry(path, where=where, scores=[score])
    check({"format_version": 1, "models": [written]})
    list_in_manifest(written)
    (listed,) = list_models("derefl")
    assert listed.where.hub == HubCommit("org/net", "a" * 40)
    assert listed.scores == [score]
    assert list_models("lcdh-student") == []
    assert find_model("net-small") == find_model("net-small", "derefl") == listed
    check_bundled(listed)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(AssertionError):
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
