"""The training and evaluation commands, with their printed output and files."""

import json
import shutil

import pytest
from PIL import Image

from derefl.cli import main
from derefl.reflection.learning import train as training
from tests.tiny import TINY

pytestmark = pytest.mark.usefixtures("small_validation")

QUOTES = "a \"b\" 'c' \\d [e]"


def test_evaluate_prints_one_json_object(checkpoint, pair_folder, tmp_path, capsys):
    pictures = tmp_path / "out"
    command = ["evaluate", "reflection", "--data", str(pair_folder), "--model", checkpoint]
    assert main([*command, "--json", "--save-pictures", str(pictures)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report.keys() == {
        *("n", "psnr", "ssim", "input_psnr", "input_ssim", "protocol", "model", "per_image")
    }
    assert (report["n"], report["protocol"], report["model"]) == (3, "resize32", checkpoint)
    assert report["psnr"] != report["input_psnr"]
    assert sorted(p.name for p in pictures.iterdir()) == ["0.png", "1.png", "2.png"]
    with Image.open(pictures / "0.png") as picture:
        assert picture.size == (96, 64)
    assert main([*command, "--protocol", "native8"]) == 0
    printed = capsys.readouterr().out
    assert "native8" in printed and "input" in printed


def test_evaluate_clean_measures_against_the_input(checkpoint, photo_folder, capsys):
    command = ["evaluate", "clean", "--data", str(photo_folder), "--model", checkpoint, "--json"]
    assert main([*command, "--held-back"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n"], report["worst"]) == (1, "21.png")
    assert report["worst_psnr"] == report["psnr"] < 60


def test_evaluate_validation_has_a_table_for_each_model(
    checkpoint, photo_folder, pair_folder, tmp_path, capsys
):
    other = str(shutil.copy(checkpoint, tmp_path / "other.safetensors"))
    command = ["evaluate", "validation", "--photos", str(photo_folder)]
    command += ["--val", f"real={pair_folder}", "--model", checkpoint]
    assert main([*command, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)[checkpoint]
    assert main([*command, other]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in (checkpoint, other):
        head, first = lines[lines.index(name) + 1 :][:2]
        assert first.split()[0] == "real" and head.split()[:4] == ["n", "input", "psnr", "gain"]
        assert float(first.split()[3]) == pytest.approx(table["real"]["psnr"], rel=1e-3)
    auc = f"amount: AUC {table['amount']['auc']:.3f}, 3 photos with a reflection, 1 without"
    assert lines.count(auc) == 2


def test_train_writes_a_model_that_the_others_load(
    photo_folder, pair_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(training, "load_imagenet_weights", lambda *_, **__: None)
    config = tmp_path / "tiny.toml"
    config.write_text(
        f"[model]\nbackbone = {TINY.backbone!r}\nhead_dim = 8\n"
        f"dims = {list(TINY.dims)}\ndepths = {list(TINY.depths)}\n"
        "[run]\nsteps = 1\nbatch = 1\nsize = 32\nlate_size = 32\nwarmup = 1\n"
    )
    command = ["train", "reflection", "--config", str(config), "--out", str(tmp_path / "run")]
    command += ["--photos", str(photo_folder), "--real", str(pair_folder)]
    assert main(command) == 0
    capsys.readouterr()
    trained = str(tmp_path / "run" / "model.safetensors")
    assert main(["bench", "--model", trained, "--size", "32", "64", "--runs", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (row,) = report["models"]
    assert (row["model"], row["item"], report["size"]) == (trained, "picture", [32, 64])
    assert row["ms"] > 0 and row["gmacs"] > 0 and row["peak_memory_mb"] > 100
    assert main([*command[:-4], "--start", trained, "--photos", str(photo_folder)]) == 0
    capsys.readouterr()
    assert main([*command, "--start", "derefl-base"]) == 1
    error = capsys.readouterr().err
    assert "expected a checkpoint of the same model config" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "reflection", "--out", "run"], "no photographs"),
        (["train", "reflection", "--out", "run", "--photos", QUOTES], f"{QUOTES} is not a folder"),
        (["train", "teacher", "--out", "run", "--named", QUOTES], f"{QUOTES} is not a folder"),
        (["train", "reflection", "--out", "run", "--set", "run=3"], "got run=3, expected a table"),
        (["train", "reflection", "--out", "run", "--set", "run.stpes=1"], "no setting 'run.stpes'"),
        (
            ["train", "reflection", "--out", "run", "--config", "none.toml"],
            "cannot read the config",
        ),
        (["evaluate", "clean", "--data", "nowhere", "--model", "CHECKPOINT"], "is not a folder"),
        (["evaluate", "validation", "--val", "a=nowhere", "--model", "CHECKPOINT"], "not a folder"),
        (["evaluate", "validation", "--model", "CHECKPOINT"], "give --val NAME=DIR, --photos DIR"),
        (["evaluate", "validation", "--val", "nowhere", "--model", "CHECKPOINT"], "NAME=DIR"),
        (["evaluate", "reflection", "--data", "nowhere", "--model", "CHECKPOINT"], "not a folder"),
    ],
)
def test_mistakes_are_one_line(arguments, message, checkpoint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [checkpoint if a == "CHECKPOINT" else a for a in arguments]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("derefl: ") and message in error and error.count("\n") == 1
