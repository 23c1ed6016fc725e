"""``derefl publish`` with the real huggingface_hub client and a Hub on loopback.

The protocols for large files, LFS and Xet, are not tested: they are inside the client.
"""

import json
import re
from dataclasses import asdict

import bundle
import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from derefl import HashIndex, load_derefl, load_lcdh_student
from derefl.cli import main
from derefl.errors import CheckpointError, OutputError, PublishError
from derefl.hashing import teacher_pipeline
from derefl.hashing.teacher_pipeline import load_teacher_network
from derefl.reflection.model import DeRefl
from derefl.zoo import manifest, save_checkpoint
from derefl.zoo.publish import FILES, prepare_release
from tests.hashing.test_online import ColourEncoder
from tests.hashing.tiny import tiny_hasher, tiny_teacher
from tests.tiny import TINY
from tests.zoo.net import make_net, same, save_net

TOKEN = "hf_writes_to_org"

LOADERS = {
    "derefl": load_derefl,
    "lcdh-student": load_lcdh_student,
    "lcdh-teacher": load_teacher_network,
}

SCORE = {"dataset": "Real20", "protocol": "resize32", "n": 20, "psnr": 21.25, "command": "derefl …"}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """One small checkpoint per kind."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    models = {
        "derefl": (DeRefl(TINY), TINY),
        "lcdh-student": (tiny_hasher(), tiny_hasher().config),
        "lcdh-teacher": (tiny_teacher(), tiny_teacher().config),
    }
    for kind, (model, config) in models.items():
        save_checkpoint(model, folder / f"{kind}.safetensors", kind=kind, config=asdict(config))
    return folder


@pytest.fixture
def writer(hub, monkeypatch):
    """The Hub, and a stored token with write access to ``org`` and ``mine``."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.writers[TOKEN] = {"org", "mine"}
    return hub


@pytest.fixture
def clone(package, checkpoints, monkeypatch):
    """The manifest of a clone, which lists the three checkpoints as bundled; its path."""
    monkeypatch.setattr(bundle, "package_folder", lambda: package)
    installed = package / "weights_manifest.json"
    for kind in LOADERS:
        bundle.bundle(checkpoints / f"{kind}.safetensors", f"tiny-{kind}")
    content = json.loads(installed.read_text())
    for listed in content["models"]:
        training = {"data": ["blocks"], "steps": 1, "pictures": 2, "hours": 0.1, "hardware": "CPU"}
        listed.update(licence="research use only", scores=[SCORE], training=training)
    path = package.parent / "weights_manifest.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    installed.unlink()
    monkeypatch.setattr(manifest, "manifest_file", lambda: path)
    return path


def published(path, name):
    """A model's location on the Hub, from the manifest."""
    (entry,) = (e for e in json.loads(path.read_text())["models"] if e["name"] == name)
    return entry["where"]["hub"]


def error_line(capsys):
    """The only line that is not a progress bar of the client."""
    (line,) = re.findall(r"derefl: .*", capsys.readouterr().err)
    return line


@pytest.mark.parametrize("kind", LOADERS)
def test_published_and_loaded_back_and_the_code_on_the_card_runs(
    writer, clone, checkpoints, tmp_path, monkeypatch, capsys, kind
):
    before = json.loads(clone.read_text())
    assert main(["publish", f"tiny-{kind}", "--repo", "org/tiny"]) == 0
    (commit,) = set(writer.repos["org/tiny"].branches.values())
    files = writer.repos["org/tiny"].commits[commit]
    weights = (checkpoints / f"{kind}.safetensors").read_bytes()
    assert set(files) == {".gitattributes", *FILES}
    assert files["model.safetensors"] == weights
    assert json.loads(files["config.json"])["kind"] == kind
    assert f"at commit {commit}; loaded back, same sha256" in capsys.readouterr().out
    assert len(writer.repos["org/tiny"].commits) == 2  # with the empty first commit

    # The manifest differs only in this value.
    for entry in before["models"]:
        if entry["name"] == f"tiny-{kind}":
            entry["where"]["hub"] = {"repo": "org/tiny", "revision": commit}
    assert json.loads(clone.read_text()) == before

    # By name at its commit, from the repo, and from a file: the same model.
    load = LOADERS[kind]
    local = load(checkpoints / f"{kind}.safetensors")
    assert same(load("org/tiny"), local)
    assert same(load(f"tiny-{kind}", revision=commit), local)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(teacher_pipeline, "load_encoder", lambda *_: ColourEncoder())
    for name, colour in (("window", "red"), ("dog", "green"), ("boat", "blue")):
        Image.new("RGB", (48, 40), colour).save(f"{name}.jpg")
    code = re.search(r"```python\n(.*?)```", ModelCard.load("org/tiny").text, re.DOTALL)[1]
    assert f'load_{kind.replace("-", "_")}("org/tiny"' in code
    names = {}
    exec(code, names)
    if kind == "derefl":
        assert Image.open("clean.png").size == (48, 40)
    elif kind == "lcdh-student":
        assert {hit.id for hit in names["hits"]} == {"dog.jpg", "boat.jpg"}
        assert HashIndex.load("photos.lcdh").model == "org/tiny"
    else:
        assert names["photos"].shape == (2, 8) and names["texts"].shape == (1, 8)


def test_publishing_again_changes_nothing_and_new_weights_make_a_new_commit(
    writer, clone, tmp_path
):
    name, other = "tiny-lcdh-teacher", tmp_path / "other.safetensors"
    assert main(["publish", name, "--repo", "org/tiny"]) == 0
    first = published(clone, name)
    assert main(["publish", name, "--repo", "org/tiny"]) == 0
    assert published(clone, name) == first
    teacher = tiny_teacher(seed=1)
    save_checkpoint(teacher, other, kind="lcdh-teacher", config=asdict(teacher.config))
    assert main(["publish", str(other), "--repo", "org/tiny"]) == 0
    assert len(writer.repos["org/tiny"].commits) == 3  # with the empty first commit
    assert published(clone, name) == first  # another model, so no change
    now, before = (load_teacher_network("org/tiny", revision=r) for r in (None, first["revision"]))
    assert not same(now, before)


def test_the_dry_run_writes_a_folder_that_loads_and_sends_nothing(
    hub, clone, checkpoints, tmp_path, capsys
):
    folder = tmp_path / "new" / "folder"
    before = clone.read_text()
    arguments = ["publish", "tiny-derefl", "--repo", "org/tiny", "--private"]
    assert main([*arguments, "--dry-run", str(folder)]) == 0
    assert sorted(p.name for p in folder.parent.rglob("*") if p.is_file()) == sorted(FILES)
    assert same(load_derefl(folder), load_derefl(checkpoints / "derefl.safetensors"))
    assert (hub.requests, clone.read_text()) == ([], before)
    out = capsys.readouterr().out
    assert "it loads with load_derefl" in out
    assert (
        f"would upload it to org/tiny (private), load it back, and write the commit to {clone}"
        in out
    )
    for place, message in ((folder, "is not empty"), (clone / "folder", "cannot be written")):
        assert main([*arguments, "--dry-run", str(place)]) == 1
        assert message in error_line(capsys)


def test_private_repos_need_the_token_to_be_loaded(writer, clone, capsys):
    assert main(["publish", "tiny-lcdh-teacher", "--repo", "org/secret", "--private"]) == 0
    assert writer.repos["org/secret"].private
    assert load_teacher_network("org/secret", token=TOKEN).config.dim == 64
    assert main(["publish", "tiny-lcdh-teacher", "--repo", "org/open"]) == 0
    assert not writer.repos["org/open"].private
    capsys.readouterr()
    assert main(["publish", "tiny-lcdh-teacher", "--repo", "org/open", "--private"]) == 1
    assert "org/open is public, got --private" in error_line(capsys)


def test_own_weights_by_way_of_a_folder_whose_card_was_completed(
    writer, clone, checkpoints, tmp_path, capsys
):
    weights, folder = checkpoints / "lcdh-teacher.safetensors", tmp_path / "mine"
    before = clone.read_text()
    assert main(["publish", str(weights), "--repo", "mine/net", "--dry-run", str(folder)]) == 0
    card = (folder / "README.md").read_text()
    assert card.count("Not stated.") == 3 and "model-index" not in card
    (folder / "README.md").write_text(card.replace("Not stated.", "MIT, says its owner."))
    assert main(["publish", str(folder), "--repo", "mine/net"]) == 0
    assert ModelCard.load("mine/net").text.count("MIT, says its owner.") == 3
    assert same(load_teacher_network("mine/net"), load_teacher_network(weights))
    assert clone.read_text() == before


def test_a_manifest_that_does_not_list_the_weights_is_found_out_before_uploading(
    writer, clone, checkpoints, tmp_path, capsys
):
    other = tmp_path / "other.json"
    other.write_text(clone.read_text().replace('"tiny-lcdh-teacher"', '"another"'))
    own = str(checkpoints / "lcdh-teacher.safetensors")
    for model, file in (
        ("tiny-lcdh-teacher", other),
        (own, clone),
        ("tiny-lcdh-teacher", tmp_path / "none"),
    ):
        assert main(["publish", model, "--repo", "org/tiny", "--manifest", str(file)]) == 1
        assert str(file) in error_line(capsys)
    assert writer.requests == []
    other.write_text(before := clone.read_text())
    assert (
        main(["publish", "tiny-lcdh-teacher", "--repo", "org/tiny", "--manifest", str(other)]) == 0
    )
    assert published(other, "tiny-lcdh-teacher")["repo"] == "org/tiny"
    assert clone.read_text() == before


def test_what_cannot_be_published(writer, clone, package, tmp_path):
    damaged = package / "weights" / "tiny-derefl.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    with pytest.raises(CheckpointError, match=r"but the manifest lists .*tools/bundle\.py"):
        prepare_release("tiny-derefl", "org/tiny")
    for repo in ("tiny", "a/b/c", "/tiny", "org/", "a b/c", "caf\udce9/x", 99 * "x" + "/y"):
        with pytest.raises(PublishError, match="expected ORG/NAME"):
            prepare_release("tiny-lcdh-teacher", repo)
    unknown = save_net(tmp_path / "net.safetensors", make_net(), kind="other")
    with pytest.raises(CheckpointError, match=r"kind 'other', expected one of derefl, lcdh-stud"):
        prepare_release(str(unknown), "org/tiny")
    # A known kind, but the weights do not fit: the error comes before any upload.
    wrong = save_net(tmp_path / "wrong.safetensors", make_net())
    assert main(["publish", str(wrong), "--repo", "org/tiny"]) == 1
    assert writer.requests == []


@pytest.mark.parametrize(
    ("repo", "token", "message"),
    [
        ("org/tiny", None, r"refused org/tiny \(status 401\).*hf auth login.* Nothing was upl"),
        ("org/tiny", "hf_unknown", r"refused org/tiny \(status 401\).* Nothing was uploaded"),
        ("others/tiny", TOKEN, r"others/tiny \(status 403\): the token has no.* Nothing was upl"),
        ("org/data", TOKEN, "is not a data set or a Space"),
        ("org/no such name", TOKEN, "expected ORG/NAME; write --repo ORG/NAME"),
    ],
)
def test_refused(writer, clone, capsys, monkeypatch, repo, token, message):
    before = clone.read_text()
    writer.datasets.add("org/data")
    monkeypatch.delenv("HF_TOKEN")
    option = ["--token", token] if token else []
    assert main(["publish", "tiny-lcdh-teacher", "--repo", repo, *option]) == 1
    assert re.search(message, error_line(capsys))
    assert (writer.repos, clone.read_text()) == ({}, before)


def test_a_repo_with_another_model_is_unchanged(writer, clone, capsys):
    writer.commit("org/bert", {"config.json": b'{"model_type": "bert"}'})
    assert main(["publish", "tiny-lcdh-teacher", "--repo", "org/teacher"]) == 0
    capsys.readouterr()
    for repo, kind in (("org/bert", "unknown to derefl"), ("org/teacher", "lcdh-teacher")):
        head = dict(writer.repos[repo].branches)
        assert main(["publish", "tiny-derefl", "--repo", repo]) == 1
        assert f"the Hub repo {repo} has a model of kind {kind!r}" in error_line(capsys)
        assert writer.repos[repo].branches == head


@pytest.mark.parametrize(
    ("route", "status", "message"),
    [
        ("create_repo", 500, r"failed \(.*500.*check the connection.* Nothing was uploaded"),
        ("preupload", 403, r"org/tiny \(status 403\).*no new commit"),
        ("take_commit", 500, r"failed \(.*500.*no new commit"),
        ("resolve", 503, r"was uploaded as commit .*cannot be loaded back: .*503"),
    ],
)
def test_a_failed_upload_reports_the_state_and_can_be_repeated(
    writer, clone, capsys, route, status, message
):
    before = clone.read_text()
    writer.refusals[route] = status
    assert main(["publish", "tiny-lcdh-teacher", "--repo", "org/tiny"]) == 1
    assert re.search(message, error_line(capsys))
    assert clone.read_text() == before
    writer.refusals.clear()
    assert main(["publish", "tiny-lcdh-teacher", "--repo", "org/tiny"]) == 0


def test_network_down_or_switched_off(writer, clone, capsys, monkeypatch):
    writer.stop()
    assert main(["publish", "tiny-lcdh-teacher", "--repo", "org/tiny"]) == 1
    assert "check the connection, HF_ENDPOINT" in error_line(capsys)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    assert main(["publish", "tiny-lcdh-teacher", "--repo", "org/tiny"]) == 1
    assert "HF_HUB_OFFLINE switches the Hub off: unset it" in error_line(capsys)


def test_files_that_come_back_changed_are_an_error(writer, clone, capsys, monkeypatch):
    before = clone.read_text()
    commit = writer.commit

    def spoiling(repo, files, branch="main"):
        weights = files.get("model.safetensors", b"")
        return commit(repo, files | {"model.safetensors": weights[:-1] + b"\1"}, branch)

    monkeypatch.setattr(writer, "commit", spoiling)
    assert main(["publish", "tiny-lcdh-teacher", "--repo", "org/tiny"]) == 1
    assert re.search(
        r"org/tiny was uploaded as commit [0-9a-f]{40}, but cannot be loaded back: its "
        r"model.safetensors is another file. The manifest was not changed",
        error_line(capsys),
    )
    assert clone.read_text() == before


def test_a_manifest_that_cannot_be_written(writer, clone, capsys, monkeypatch):
    def full(*_):
        raise OutputError("No space left on device")

    monkeypatch.setattr("derefl.zoo.publish.write_manifest", full)
    assert main(["publish", "tiny-lcdh-teacher", "--repo", "org/tiny"]) == 1
    line = error_line(capsys)
    assert "is published and was loaded back, but No space left" in line
    assert '"hub": {"repo": "org/tiny", "revision": "' in line
