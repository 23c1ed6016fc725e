"""``derefl bench models`` and ``report`` measure what they say; the page shows what is stored."""

import json
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
import torch

from derefl import list_models
from derefl.cli import main
from derefl.commands import bench_models
from derefl.commands.bench_machine import cpu_name, machine
from derefl.commands.bench_models import count_macs, median_seconds, parameters_of
from derefl.commands.bench_report import PARTS
from derefl.commands.bench_report_numbers import mean_recalls, searches
from derefl.commands.bench_report_page import page
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
STORED = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))


def test_the_page_is_what_the_command_makes_of_the_stored_numbers():
    remedy = "derefl bench report --from docs/benchmarks.json --out docs/"
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert text == page(list_models(), STORED), f"run {remedy}"


def test_models_are_measured_in_processes_of_their_own(capsys):
    command = ["bench", "models", "--only", "derefl-small", "lcdh-teacher", "--size", "64", "96"]
    assert main([*command, "--runs", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["threads"], report["dtype"], report["size"]) == (1, "float32", [64, 96])
    assert report["machine"]["cpu"] == cpu_name()
    rows = {(of["model"], of["item"]): of for of in report["models"]}
    assert [*rows] == [("derefl-small", "picture"), ("lcdh-teacher", "pair")]
    for entry in list_models():
        for of in (of for (name, _), of in rows.items() if name == entry.name):
            assert of["parameters"] == entry.parameters
            assert of["seconds"] > 0 and of["items_per_s"] > 0
            assert of["loaded_memory_mb"] <= of["peak_memory_mb"] <= of["batch_peak_memory_mb"]
    # One product each of two adapters, their skips, qkv, out, the feed-forward and the last FC.
    d, k = 512, 128
    adapters = sum(n * 2 * d + 2 * d * d + n * d for n in (1280, 384))
    exact = (adapters + 2 * (3 * d * d + d * d + 4 * d * d) + 2 * d * k) / 1e9
    assert rows["lcdh-teacher", "pair"]["gmacs"] == pytest.approx(exact, rel=0.01)
    assert bench_models.table(report).splitlines()[3].startswith("derefl-small  picture")


def test_settings_that_cannot_be(capsys):
    for wrong in (["--threads", "0"], ["--size", "8", "8"], ["--only", "derefl-smal"]):
        assert main(["bench", "models", *wrong]) == 1
        assert capsys.readouterr().err


def test_macs_and_parameters_of_a_product():
    layer = torch.nn.Linear(1000, 500)
    assert count_macs(lambda: layer(torch.zeros(3, 1000))) == pytest.approx(3 * 500_000 / 1e9)
    assert parameters_of(layer, layer) == 2 * 500_500


def test_the_median_leaves_the_warm_up_out(monkeypatch):
    ticks = iter([0, 9, 10, 11, 20, 23, 30, 32])  # runs of 9 (the warm-up), 1, 3 and 2 seconds
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    assert median_seconds(lambda: None, 3) == 2


def test_a_machine_is_described_in_full():
    about = machine()
    assert about["torch"] == torch.__version__.split("+")[0] and about["cores"] >= 1
    assert all(about.values())


SEARCH = {
    "bits": 64,
    "threads": 1,
    "sizes": [
        {"codes": n, "searches": [{"queries": q, "k": 10, "seconds": n * q / 1e9, **faiss}]}
        for n, q, faiss in ((1000, 1, {}), (2000, 1, {"faiss_seconds": 3e-6, "agrees": True}))
    ],
}


def test_a_part_that_was_not_measured_is_left_out_and_named():
    text = page(list_models(), {"search": SEARCH})
    for name, command in PARTS.items():
        assert command in text
        assert (f"--part {name}=FILE" in text) == (name != "search")
    assert "| 1,000 | 1 | 10 | 0.00 | – | – |" in text
    assert "| 2,000 | 1 | 10 | 0.00 | 0.00 | same |" in text
    assert [(of.codes, of.agrees) for of in searches(SEARCH)] == [(1000, None), (2000, True)]


def test_numbers_of_the_page_are_those_of_manifest_and_parts():
    entry = replace(
        list_models("lcdh-student")[0],
        scores=[
            {"dataset": "d", "protocol": "16 bits, x", "n": 1, "command": "c"}
            | {
                f"{w}_r@{k}": v
                for w in ("text_to_image", "image_to_text")
                for k, v in ((1, 1.0), (5, 2.0), (10, 6.0))
            }
        ],
    )
    way = {"r@1": 10.0, "r@5": 20.0, "r@10": 30.0}
    part = {"baselines": {"cca_itq": {"32": {"text_to_image": way, "image_to_text": way}}}}
    assert mean_recalls([entry], part) == {"lcdh-student": {16: 3.0}, "CCA + ITQ": {32: 20.0}}


def test_report_writes_page_plots_and_numbers(tmp_path, capsys):
    part = tmp_path / "search.json"
    part.write_text(json.dumps(SEARCH))
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps({**STORED, "search": {"wrong": 1}}))
    command = ["bench", "report", "--from", str(earlier), "--part", f"search={part}"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "benchmarks.json").read_text())
    assert results == {**STORED, "search": SEARCH}
    assert (tmp_path / "out" / "benchmarks.md").read_text() == page(list_models(), results)
    for name in ("quality", "recall", "search"):
        ElementTree.parse(tmp_path / "out" / "pictures" / f"{name}.svg")


def test_report_names_what_could_not_be_measured(tmp_path, capsys, monkeypatch):
    def run(command, **_):
        failed = "search" in command
        return subprocess.CompletedProcess(command, int(failed), json.dumps(STORED["models"]))

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["bench", "report", "--out", str(tmp_path)]) == 1
    assert "not measured: search, derefl bench search" in capsys.readouterr().err
    assert json.loads((tmp_path / "benchmarks.json").read_text()) == {"models": STORED["models"]}


def test_stored_plots_are_there_and_small():
    for name in ("quality", "recall", "search"):
        path = DOCS / "pictures" / f"{name}.svg"
        assert path.stat().st_size <= 60_000
        assert f"pictures/{name}.svg" in (DOCS / "benchmarks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--part", "speed=x.json"], "one of models, search, recall"),
        (["--part", "search"], "expected NAME=FILE"),
        (["--from", "nowhere.json"], "cannot be read as JSON"),
        (["--part", "search=list.json"], "no JSON object"),
    ],
)
def test_numbers_that_are_none_are_refused(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[]")
    assert main(["bench", "report", *arguments, "--out", "out"]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
