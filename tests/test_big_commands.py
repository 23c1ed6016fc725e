"""The commands that measure large photos, long runs and variants."""

import json

import pytest
from PIL import Image

from derefl.cli import main
from derefl.reflection import big
from derefl.zoo import save_checkpoint
from tests.conftest import TINY


@pytest.fixture
def checkpoint(tiny, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny, path, kind="derefl", config=vars(TINY))
    return str(path)


def test_bench_photo_and_soak(checkpoint, capsys):
    command = ["--model", checkpoint, "--threads", "1", "--json"]
    assert main(["bench", "photo", *command, "--size", "40", "60", "--runs", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["width"], report["height"], report["detail"]) == (60, 40, "auto")
    assert report["seconds"] > 0
    assert report["peak_memory_mb"] >= report["memory_before_mb"] > 100
    assert main(["bench", "soak", *command, "--photos", "10"]) == 0
    curve = json.loads(capsys.readouterr().out)["curve"]
    assert [point["photos"] for point in curve] == list(range(1, 11))
    memory = [point["peak_memory_mb"] for point in curve]
    assert memory == sorted(memory) and memory[0] > 100


def test_bench_variants(checkpoint, capsys):
    command = ["bench", "variants", "--model", checkpoint, "--size", "32", "48", "--runs", "1"]
    assert main([*command, "--only", "float32", "bfloat16", "autocast", "--json"]) == 0
    rows = {row["variant"]: row for row in json.loads(capsys.readouterr().out)["variants"]}
    assert rows["float32"]["worst_difference"] == 0
    for name in ("bfloat16", "autocast"):
        assert 0 < rows[name]["mean_difference"] < rows[name]["worst_difference"]
    assert main([*command, "--only", "channels_last"]) == 0
    assert "channels_last" in capsys.readouterr().out


def test_evaluate_big(checkpoint, photo_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(big, "WHOLE", 64 * 64)
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


@pytest.mark.parametrize(
    "command",
    [
        ["bench", "photo", "--size", "0", "4"],
        ["bench", "soak", "--photos", "5"],
        ["bench", "variants", "--size", "8", "8"],
        ["evaluate", "big", "--photos", "nowhere", "--megapixels", "0"],
    ],
)
def test_measurements_that_cannot_be_are_refused(command, capsys):
    assert main(command) == 1
    assert capsys.readouterr().err.startswith("derefl: expected ")
