"""ClickHouse only: its folder, which one engine opens at a time."""

import runpy
import sys
from contextlib import closing

import numpy as np
import pytest
import stores

from derefl.errors import HashIndexError, MissingExtraError
from derefl.hashing.index.base import Hit
from derefl.hashing.index.clickhouse import ClickHouseIndex, Embedded
from derefl.hashing.index.hash_index import HashIndex
from tests.hashing.databases.conftest import clustered


def test_codes_stay_in_the_folder(tmp_path):
    codes, exact = clustered(100, 64), HashIndex()
    exact.add(codes, range(100))
    exact.upsert(~codes[:10], range(10))
    with closing(Embedded(tmp_path / "one" / "folder")) as engine:
        index = ClickHouseIndex(engine, "codes", ids=int)
        index.add(codes, range(100))
        index.upsert(~codes[:10], range(10))
        assert index.disk_bytes() > 800
    with closing(Embedded(tmp_path / "another")) as engine:
        assert len(ClickHouseIndex(engine, "codes")) == 0
    with closing(Embedded(tmp_path / "one" / "folder")) as engine:
        index = ClickHouseIndex(engine, "codes")
        assert index.search(codes[:5], 100) == exact.search(codes[:5], 100)


def test_tables_of_others_are_left_alone(tmp_path):
    with closing(Embedded(tmp_path)) as engine:
        engine.query("CREATE TABLE codes (id String) ENGINE = Memory COMMENT 'mine'")
        with pytest.raises(HashIndexError, match="comment does not say"):
            ClickHouseIndex(engine, "codes")
        engine.query("CREATE TABLE newer (id String) ENGINE = Memory COMMENT '{\"derefl\": 2}'")
        with pytest.raises(HashIndexError, match="newer derefl"):
            ClickHouseIndex(engine, "newer")


def test_many_codes_in_several_parts(tmp_path):
    """More than one block of the engine, in another order than its parts."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (200_000, 8), np.uint8)
    exact = HashIndex()
    exact.add(codes, range(200_000))
    with closing(Embedded(tmp_path)) as engine:
        index = ClickHouseIndex(engine, "codes", ids=int)
        for start in range(0, 200_000, 70_000):
            rows = range(start, min(start + 70_000, 200_000))
            index.add(codes[start : start + 70_000], rows)
        assert index.search(codes[:3] ^ 1, 1000) == exact.search(codes[:3] ^ 1, 1000)


def test_without_chdb_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "chdb.session", None)
    with pytest.raises(MissingExtraError, match=r'pip install "derefl\[clickhouse\]"'):
        Embedded(tmp_path)


def test_the_example_finds_a_cup_of_coffee(examples, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["search_with_clickhouse"])
    for _ in range(2):  # the second time, the photos are already indexed
        runpy.run_path(str(examples / "search_with_clickhouse.py"))
        title, nearest, *_ = capsys.readouterr().out.splitlines()
        assert title == "nearest to 'a cup of coffee' of 15 photos:"
        assert nearest.endswith("coffee.jpg")


def test_the_benchmark_compares_the_exact_hits(capsys, monkeypatch):
    command = ["--clickhouse", "--codes", "2000", "--runs", "3"]
    stores.main(command)
    header, exact = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "index" and exact.split()[0] == "exact"
    assert exact.split()[-1] == "1"
    monkeypatch.setattr(HashIndex, "search", lambda *_: [Hit(0, 64)])
    with pytest.raises(SystemExit, match="are not the hits of HashIndex"):
        stores.main(command)
