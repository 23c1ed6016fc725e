"""``derefl bench`` and the scripts in examples/benchmarks."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import encode
import hashing_peers
import numpy as np
import photo
import precision
import pytest
import search
import torch
from safetensors.numpy import save_file

from derefl import list_models
from derefl.cli import main
from derefl.commands import bench
from derefl.hashing.codes import pack
from derefl.zoo import save_checkpoint
from tests.conftest import REPOSITORY
from tests.hashing.tiny import STUDENT, tiny_hasher


@pytest.fixture
def student(tmp_path):
    """A file of a tiny student."""
    path = tmp_path / "student.safetensors"
    save_checkpoint(tiny_hasher(), path, kind="lcdh-student", config=vars(STUDENT))
    return str(path)


@pytest.fixture
def rows(capsys):
    """The printed table: one dict of strings per row, with the words of the header as keys."""

    def rows():
        lines = capsys.readouterr().out.splitlines()
        header, *cells = (re.split(" {2,}", line) for line in lines if "  " in line)
        return [dict(zip(header, row, strict=True)) for row in cells]

    return rows


def test_the_median_leaves_the_warm_up_out(monkeypatch):
    ticks = iter([0, 9, 10, 11, 20, 23, 30, 32])  # runs of 9 (the warm-up), 1, 3 and 2 seconds
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    assert bench.median_seconds(lambda: None, 3) == 2


def test_parameters_and_multiply_adds_of_a_product(monkeypatch):
    layer = torch.nn.Linear(1000, 500)
    work = ("thing", lambda: layer(torch.zeros(3, 1000)), (layer, layer))
    monkeypatch.setattr(bench, "works", lambda *_: [work])
    (row,) = bench.measure_model("name", "kind", "cpu", 1, (16, 16), 1)
    assert (row["model"], row["item"], row["parameters"]) == ("name", "thing", 2 * 500_500)
    assert row["gmacs"] == pytest.approx(3 * 500_000 / 1e9)


def test_bench_measures_all_shipped_models(monkeypatch, student, rows, capsys):
    """In threads; test_learning_commands measures a model in a process."""
    monkeypatch.setattr(bench, "ProcessPoolExecutor", lambda n, _: ThreadPoolExecutor(n))
    assert main(["bench", "--size", "32", "32", "--runs", "1"]) == 0
    table = rows()
    models = {entry.name: entry for entry in list_models() if entry.kind != "lcdh-teacher"}
    assert [*dict.fromkeys(row["model"] for row in table)] == [*models]
    for row in table:
        assert float(row["ms"].replace(",", "")) > 0
        if models[row["model"]].kind == "derefl":
            assert row["parameters"] == f"{models[row['model']].parameters:,}"
    assert main(["bench", "--model", student, "--runs", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["item"] for row in report["models"]] == ["picture", "text"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--model", "derefl-bas"], "Did you mean 'derefl-base'"),
        (["--model", "lcdh-teacher"], "try its student"),
    ],
)
def test_bench_refuses(wrong, words, capsys):
    assert main(["bench", *wrong]) == 1
    assert words in capsys.readouterr().err


def test_bench_bounds(capsys):
    for option, value in (("threads", "0"), ("threads", "99999"), ("size", "8"), ("runs", "0")):
        with pytest.raises(SystemExit):
            main(["bench", f"--{option}", *[value] * (1 + (option == "size"))])
        assert f"argument --{option}: got '{value}', expected a" in capsys.readouterr().err


def test_encode(student, rows):
    encode.main(f"--model {student} --clip ViT-S-32-alt --batches 1 2 --seconds .01".split())
    table = rows()
    assert [row["items"] for row in table] == ["pictures", "texts"] * 2
    assert all(float(row[f"batch {n}"].replace(",", "")) > 0 for row in table for n in (1, 2))


def test_rates_count_items_not_calls(monkeypatch):
    """With a clock that advances 10 ms per call: some ten calls of 5 items in 0.1 s."""
    ticks = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 100)
    assert 400 < encode.rate(lambda batch: None, 5, 0.1) < 600


def test_photo(checkpoint, rows):
    photo.main(f"--model {checkpoint} --size 40 60 --runs 2 --threads 1".split())
    (row,) = rows()
    assert (row["height"], row["width"]) == ("40", "60")
    before, first, last = (
        float(row[f"MB {when}"].replace(",", ""))
        for when in ("before", "after the first", "after the last")
    )
    assert 100 < before <= first <= last


def test_precision(checkpoint, rows):
    variants = "--only float32 autocast bfloat16 --size 40 60 --runs 1 --threads 1"
    precision.main(f"--model {checkpoint} {variants}".split())
    table = {row.pop("variant"): row for row in rows()}
    worst = {name: float(row["worst"]) for name, row in table.items()}
    assert worst["float32"] == 0
    assert worst["autocast"] > 0 and worst["bfloat16"] > 0


def test_search(rows, capsys):
    settings = "--codes 2000 3000 --queries 1 4 -k 3 --runs 2 --clustered --faiss flat ivf"
    search.main(settings.split())
    printed = capsys.readouterr().out
    assert "append 1,000, ms" in printed
    search.main([*settings.split(), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [(row["codes"], row["queries"], row["index"]) for row in report["searches"]] == [
        (codes, queries, index)
        for codes in (2000, 3000)
        for queries in (1, 4)
        for index in ("HashIndex", "FAISS flat", "FAISS ivf")
    ]
    for row in report["searches"]:
        assert row["ms"] > 0
        assert row["recall"] > 0.5 if "ivf" in row["index"] else row["recall"] == 1
    assert [file["codes"] for file in report["files"]] == [2000, 3000]
    assert all(file["file, MB"] > 0.016 for file in report["files"])


def test_recall_counts_hits_that_are_as_near():
    assert search.recall([[1, 2, 2], [0, 4, 5]], [[1, 2, 2], [0, 3, 4]]) == 5 / 6


def captioned(pictures, d=24):
    """Noisy views of vectors around twenty centres: each picture, and two captions of it."""
    rng = np.random.default_rng(0)
    themes = rng.normal(size=(20, d))[rng.integers(20, size=pictures)]
    common = themes + 0.7 * rng.normal(size=themes.shape)
    rows = np.repeat(np.arange(pictures), 2)
    views = (part + 0.6 * rng.normal(size=part.shape) for part in (common, common[rows]))
    unit = [(v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in views]
    return hashing_peers.Captioned(*unit, rows)


@pytest.mark.parametrize(
    ("name", "settings", "least"),
    [
        ("CCA + ITQ", {}, 85),
        ("LEMON", {"clusters": 16, "ridge": 1}, 75),
        ("DOCH", {"clusters": 16, "ridge": 1}, 40),
        ("UCCH", {"temperature": 0.3, "epochs": 15}, 75),
    ],
)
def test_hashing_peers_find_pairs_that_they_did_not_see(name, settings, least):
    data = captioned(300)
    seen, unseen = (data.part(np.arange(*ends)) for ends in ((200,), (200, 300)))
    report = hashing_peers.recall(hashing_peers.FITS[name](seen, 16, **settings), unseen)
    for way in report.values():
        assert way["r@10"] > least  # 10 by chance


def test_hashing_peers(tmp_path, rows, monkeypatch):
    """From files of features: the model's own codes, and a method with its best settings."""
    monkeypatch.setitem(hashing_peers.GRIDS, "LEMON", {"clusters": (2, 16), "ridge": (1,)})
    data = captioned(240, 128)
    seen, unseen = data.part(np.arange(180)), data.part(np.arange(180, 240))
    for part, own in (("train", seen), ("dev", unseen)):
        arrays = {"rows": own.rows}
        for kind, features in (("image", own.images), ("text", own.texts)):
            arrays |= {f"{kind}_features": features, f"{kind}_embedding": -features}
        save_file(arrays, tmp_path / f"student-{part}.safetensors")
    command = f"{tmp_path} --features {tmp_path} --models student --methods LEMON"
    hashing_peers.main(command.split())
    lcdh, lemon = rows()
    best = hashing_peers.choose("LEMON", seen)
    assert lemon["codes"] == f"LEMON clusters={best['clusters']} ridge={best['ridge']}"
    coder = hashing_peers.FITS["LEMON"](seen, 16, **best)
    own = SimpleNamespace(encode_image=pack, encode_text=pack)
    cut = hashing_peers.Captioned(-unseen.images[:, :16], -unseen.texts[:, :16], unseen.rows)
    for row, report in (
        (lcdh, hashing_peers.recall(own, cut)),
        (lemon, hashing_peers.recall(coder, unseen)),
    ):
        assert row["16 bits"] == " / ".join(f"{way['r@10']:.1f}" for way in report.values())


def test_the_page_has_the_scores_of_the_manifest():
    page = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for entry in list_models("derefl"):
        for score in entry.scores:
            if (score["dataset"], score["protocol"]) == ("Real20", "resize32"):
                assert f"| {entry.name} | {score['psnr']:.2f} | {score['ssim']:.3f} |" in page
