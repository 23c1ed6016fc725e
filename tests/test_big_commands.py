"""``derefl evaluate big``."""

import json

import pytest
from PIL import Image

from derefl.cli import main
from derefl.reflection.tiling import any_size


@pytest.fixture
def checkpoint(tiny, tmp_path):
    path = tmp_path / "tiny.safetensors"
    tiny.save(path)
    return str(path)


def test_evaluate_big(checkpoint, photo_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(any_size, "WHOLE", 64 * 64)
    command = ["evaluate", "big", "--photos", str(photo_folder), "--model", checkpoint, "--json"]
    command += ["--megapixels", "0.01", "--limit", "2", "--save-pictures", str(tmp_path / "out")]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == 2
    assert report["mean"].keys() == {"input", "auto", "full", "auto:full"}
    assert report["mean"]["auto"] != report["mean"]["full"]
    with Image.open(tmp_path / "out" / "00.auto.png") as auto:
        assert auto.size == (110, 91)
    assert len(list((tmp_path / "out").iterdir())) == 8
    assert main([*command, "--seams"]) == 0
    assert json.loads(capsys.readouterr().out)["mean"] == {"mean": 0, "worst": 0}  # one piece


def test_a_size_of_no_pixels_is_refused(capsys):
    assert main(["evaluate", "big", "--photos", "nowhere", "--megapixels", "0"]) == 1
    assert capsys.readouterr().err.startswith("derefl: expected ")
