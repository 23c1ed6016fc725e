"""Every program in examples/ works, from any folder."""

import re
import runpy
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import REPOSITORY
from tests.notebook import NOTEBOOK, stored

pytestmark = pytest.mark.usefixtures("small_validation")

EXAMPLES = REPOSITORY / "examples"
MAKERS = {"make_composites", "make_failures"}
"""These write pictures of the repository, and only run to change the pictures."""


@pytest.fixture
def run(examples, tmp_path, monkeypatch, capsys):
    """Runs an example in an empty folder and returns its printed output."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(examples / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_every_example_is_run_by_some_test():
    tests = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("*.py"))
    for path in EXAMPLES.rglob("*.py"):
        assert path.stem in tests, path


def test_dereflect(run, tmp_path):
    assert "clean.png" in run("dereflect")
    assert (tmp_path / "clean.png").is_file()


def test_photo_search(run):
    nearest = [line for line in run("photo_search", "two", "dogs").splitlines() if "bits" in line]
    assert len(nearest) == 3 and any("friends.jpg" in line for line in nearest)


def test_stream_hashing(run):
    """Items of the first chunk are still found after the last chunk."""
    last = run("stream_hashing").split("6 photos seen")[1]
    assert re.findall(r"finds (\w+)", last) == ["coffee", "church"]


def test_train_reflection_learns(run, tmp_path):
    before, after = map(float, re.findall(r"loss .*: ([\d.]+)", run("train_reflection", "12")))
    assert after < before
    written = {path.name for path in (tmp_path / "outputs" / "train").iterdir()}
    assert {"wine.png", "validation-000012.png", "log.jsonl", "model.safetensors"} <= written


def test_ablate_reflection_compares_variants_on_the_same_pictures(
    run, photo_folder, pair_folder, tmp_path
):
    names = ("base", "reorganise: none")
    command = ("--photos", str(photo_folder), "--real", str(pair_folder), "--out", "runs")
    command += ("--val", f"pairs={pair_folder}", "--minutes", "1e-6", "--only", *names, "--set")
    command += (
        "run.warmup=1",
        "run.batch=1",
        "run.size=32",
        "model.dims=[8, 8, 8, 16, 16]",
        "model.depths=[1, 1, 1, 1, 1]",
        "model.head_dim=8",
    )
    printed = run("ablate_reflection", *command)
    table = [line.strip("| ").split(" | ") for line in printed.splitlines() if line[:1] == "|"]
    assert table[0][:2] == ["variant", "pairs"] and [row[0] for row in table[2:]] == list(names)
    one, other = (
        load_file(tmp_path / "runs" / folder / "model.safetensors")
        for folder in ("base", "reorganise-none")
    )
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert printed.endswith(run("ablate_reflection", *command))  # done already: the table alone


def outputs(notebook, kind):
    """The printed texts (``text``) or the pictures (``image/jpeg``) of a notebook's cells."""
    every = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return [found for o in every if (found := o.get("data", o).get(kind))]


def test_the_notebook_runs_and_shows_what_it_did(monkeypatch, capsys):
    """The stored outputs fit the shipped weights: same photos found, same decibels."""
    assert NOTEBOOK.stat().st_size < 400_000
    notebook, shown, names = stored(), [], {}
    assert len(outputs(notebook, "image/jpeg")) == 5
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr("IPython.display.display", lambda picture, include: shown.append(picture))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    assert len(shown) == 5 and all(max(picture.size) <= 760 for picture in shown)
    before, now = "".join(outputs(notebook, "text")), capsys.readouterr().out
    for old, new in zip(before.splitlines(), now.splitlines(), strict=True):
        assert old.split()[0] == new.split()[0]
        numbers = [[float(n) for n in re.findall(r"\d+(?:\.\d+)?", line)] for line in (old, new)]
        near = pytest.approx(numbers[1], abs=0.5 if "dB" in old else 2)
        assert numbers[0] == near, "run python -m tests.notebook"
    gains = re.findall(r"(\w+): ([\d.]+) dB before, ([\d.]+) dB", now)
    assert len(gains) == 4
    for name, glass, clean in gains:
        assert float(clean) > float(glass) + 1, name
    assert re.search("^friends .*^galaxies .*^coffee ", now, re.M | re.S)
