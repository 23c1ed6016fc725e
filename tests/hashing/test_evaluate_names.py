"""``derefl evaluate names``: class names as queries."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from derefl.cli import main
from derefl.hashing.learning.evaluate import evaluate_names
from tests.hashing.fake import COLOURS, FakeHasher

DOG, CAT = "n02084071", "n02121620"


@pytest.fixture
def pictures(tmp_path):
    """Three plain pictures of each colour."""
    for number in range(3):
        for name, colour in COLOURS.items():
            level = tuple(round(255 * value) for value in colour)
            Image.new("RGB", (8, 8), level).save(tmp_path / f"{name}-{number}.png")
    return sorted(tmp_path.iterdir())


def test_each_name_asks_once_and_finds_all_of_its_class(pictures):
    texts = [f"a {path.stem.split('-')[0]} thing" for path in pictures]
    report = evaluate_names(FakeHasher(128), pictures, texts, bits=[64, 128])
    assert (report["n_images"], report["n_texts"]) == (21, 7)
    assert report["float"]["text_to_image"] == {"r@1": 100, "r@5": 100, "r@10": 100} | {
        "median_rank": 4 / 4  # above 0, three tied, all three are hits
    }
    assert report["float"]["image_to_text"]["r@1"] == pytest.approx(100)
    assert list(report["codes"]) == ["64", "128"]


def test_a_name_given_to_the_wrong_pictures_is_not_found(pictures):
    wrong = {"red": "blue", "blue": "red"}
    colours = [path.stem.split("-")[0] for path in pictures]
    texts = [f"a {wrong.get(colour, colour)} thing" for colour in colours]
    found = evaluate_names(FakeHasher(128), pictures, texts)["float"]
    assert found["text_to_image"]["r@1"] == pytest.approx(100 * 5 / 7)
    assert found["image_to_text"]["r@1"] == pytest.approx(100 * 15 / 21)


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """The command on eleven dogs, a cat and an unknown name, with the fake hasher."""
    rng = np.random.default_rng(0)
    for name in [*(f"{DOG}_{i:02}" for i in range(11)), f"{CAT}_1", "holiday"]:
        array = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    module = type(sys)("derefl.hashing.hasher")
    module.load_lcdh_student = lambda source, *, bits, device: FakeHasher(bits, name=source)
    monkeypatch.setitem(sys.modules, "derefl.hashing.hasher", module)
    return lambda *args: main(["evaluate", "names", "--data", str(tmp_path), *args])


def test_the_command_takes_the_named_or_the_held_back_ones(evaluate, capsys):
    counts = []
    for options in ([], ["--held-back"]):
        assert evaluate("--json", "--bits", "64", *options) == 0
        captured = capsys.readouterr()
        report = json.loads(captured.out)
        counts.append((report["n_images"], report["n_texts"]))
        assert "'a {}'" in captured.err
    assert counts == [(12, 2), (2, 1)]  # numbers 0 and 10 of the sorted pictures are dogs
    assert evaluate("--template", "{}, {please", "--bits", "32") == 0
    printed = capsys.readouterr().out
    assert "12 pictures, 2 names, '{}, {please'" in printed and "32 bits" in printed


def test_mistakes_are_one_line(evaluate, tmp_path, capsys):
    assert evaluate("--template", "a name") == 1
    assert "expected a {} for the name" in capsys.readouterr().err
    for path in tmp_path.glob("n*.png"):
        path.unlink()
    assert evaluate() == 1
    error = capsys.readouterr().err
    assert "expected names like n02084071_1.jpg" in error and error.count("\n") == 1
