"""``derefl bench hashing`` measures what it says."""

import json

import torch

from derefl.cli import main
from derefl.commands import bench_hashing
from derefl.zoo import save_checkpoint
from tests.hashing.tiny import STUDENT, tiny_hasher


def saved(folder):
    path = folder / "mine.safetensors"
    save_checkpoint(tiny_hasher(), path, kind="lcdh-student", config=vars(STUDENT))
    return str(path)


def test_rates_of_student_and_clip_in_one_run(tmp_path, monkeypatch, capsys):
    def towers():
        tower = bench_hashing.Tower(lambda n: torch.zeros(n), ())
        return {"picture": tower, "text": tower}

    monkeypatch.setattr(bench_hashing, "clip_towers", towers)
    model = saved(tmp_path)
    arguments = ["--model", model, "--batches", "1", "4", "--runs", "1", "--compare", "--json"]
    assert main(["bench", "hashing", *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["models"].keys() == {model, "open_clip ViT-B-32"}
    assert report["machine"]["cores"] >= 1
    for rates in report["models"].values():
        assert rates["images_per_s"].keys() == rates["texts_per_s"].keys() == {"1", "4"}
        assert all(value > 0 for of in rates.values() for value in of.values())


def test_rate_counts_items_not_calls(monkeypatch):
    """By a clock that moves 10 ms at every look: some 9 calls of 5 items in 0.1 s."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(bench_hashing.time, "perf_counter", lambda: next(ticks) / 100)
    assert 350 < bench_hashing.rate(lambda batch: None, 5, runs=2) < 500


def test_settings_that_cannot_be(capsys):
    assert main(["bench", "hashing", "--runs", "0"]) == 1
    assert "at least 1" in capsys.readouterr().err
