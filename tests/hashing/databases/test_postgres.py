"""PostgreSQL only: transactions, the HNSW index, connections of the user."""

import json
import runpy
import sys

import psycopg
import pytest
import stores
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from derefl.errors import HashIndexError, MissingExtraError
from derefl.hashing.index.hash_index import HashIndex
from derefl.hashing.index.postgres import PostgresIndex
from tests.hashing.databases.conftest import clustered

N = 4_000


@pytest.fixture
def filled(schema):
    """An index with HNSW of clustered codes, a HashIndex of the same codes, and queries."""
    codes = clustered(N, 64)
    exact, index = HashIndex(), PostgresIndex(schema, "codes", ids=int)
    for one in (exact, index):
        one.add(codes, range(N))
    index.build_hnsw()
    yield index, exact, clustered(N, 64, seed=0)[::40] ^ 1
    index.close()


def recall(found, exact):
    """The share of hits that are no farther than the last exact hit; ties count as correct."""
    near = [sum(h.distance <= e[-1].distance for h in f) for f, e in zip(found, exact, strict=True)]
    return sum(near) / sum(map(len, exact))


def test_hnsw_finds_nearly_all(filled):
    index, exact, queries = filled
    expected = exact.search(queries, 10)
    found = index.search(queries, 10)
    assert all(len(hits) == 10 for hits in found)
    assert recall(found, expected) > 0.9
    distances = [[hit.distance for hit in hits] for hits in found]
    assert distances == [sorted(row) for row in distances]
    assert found != expected  # else HNSW was not used


def test_exact_beside_hnsw(filled):
    index, exact, queries = filled
    few, some = queries[:5], range(0, N, 7)
    assert index.search(few, 20, where=some) == exact.search(few, 20, where=some)
    assert index.search(few, 1001) == exact.search(few, 1001)  # more than HNSW gives
    assert index.within(few, 8) == exact.within(few, 8)
    index.ef_search = None
    assert index.search(few, 10) == exact.search(few, 10)


def test_hnsw_gives_as_many_as_asked_for(filled):
    index, _, queries = filled
    index.ef_search = 1
    assert [len(hits) for hits in index.search(queries[:3], 900)] == [900] * 3
    nearest = index.search(queries[0], 500)
    index.remove([hit.id for hit in nearest[:400]])  # removed, but still in HNSW
    left = index.search(queries[0], 50)
    assert len(left) == 50
    assert not {hit.id for hit in left} & {hit.id for hit in nearest[:400]}


def test_what_breaks_off_leaves_nothing(schema):
    codes = clustered(50, 64)
    with psycopg.connect(schema) as connection:
        index = PostgresIndex(connection, "codes")
        index.add(codes[:2], ["a", "b"])
        with pytest.raises(ZeroDivisionError), connection.transaction():
            index.add(codes[2:3], ["c"])
            index.upsert(codes[3:4], ["a"])
            index.remove(["b"])
            with pytest.raises(HashIndexError):  # the outer transaction stays usable
                index.add(codes[4:5], ["c"])
            assert len(index) == 2
            1 / 0  # noqa: B018
        exact = HashIndex()
        exact.add(codes[:2], ["a", "b"])
        assert index.within(codes[:1], 64) == exact.within(codes[:1], 64)
        assert "c" not in index
        assert connection.info.transaction_status is TransactionStatus.IDLE


def test_a_connection_stays_as_it_was(schema):
    with psycopg.connect(schema, row_factory=dict_row) as connection:
        index = PostgresIndex(connection, "codes")
        index.add(clustered(50, 64), map(str, range(50)))
        index.build_hnsw()
        assert len(index.search(clustered(50, 64)[:2], 3)) == 2
        index.close()
        (row,) = connection.execute("SELECT count(*) FROM codes").fetchall()
        assert row == {"count": 50}
        assert connection.execute("SHOW enable_seqscan").fetchone() == {"enable_seqscan": "on"}
    index = PostgresIndex(schema, "codes")
    index.close()
    with pytest.raises(psycopg.OperationalError, match="closed"):
        len(index)


def test_two_clients_at_once(schema):
    codes = clustered(50, 64)
    one, two = PostgresIndex(schema, "codes"), PostgresIndex(schema, "codes")
    one.add(codes[:2], ["a", "b"])
    two.upsert(codes[2:4], ["b", "c"])
    with pytest.raises(HashIndexError, match="'c' is in the table"):
        one.add(codes[4:], ["c", *map(str, range(45))])
    assert len(one) == len(two) == 3
    one.close()
    two.close()


def test_tables_of_others_are_left_alone(schema):
    with psycopg.connect(schema, autocommit=True) as connection:
        connection.execute("CREATE TABLE codes (id text, code bit(64))")
        with pytest.raises(HashIndexError, match="comment does not say"):
            PostgresIndex(connection, "codes")
        connection.execute("""COMMENT ON TABLE codes IS '{"derefl": 2}'""")
        with pytest.raises(HashIndexError, match="newer derefl"):
            PostgresIndex(connection, "codes")
        with pytest.raises(HashIndexError, match="comment does not say"):
            PostgresIndex(connection, "pg_class")
        with pytest.raises(HashIndexError, match="at most 63 bytes"):  # it would be cut
            PostgresIndex(connection, "ü" * 32)
        PostgresIndex(connection, "ü" * 31)
    with pytest.raises(HashIndexError, match="ef_search=0, expected 1 to 1000"):
        PostgresIndex(schema, "others", ef_search=0)


def test_a_user_without_the_right_is_told(schema):
    with psycopg.connect(schema, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest")
        connection.execute("SET ROLE guest")
        with pytest.raises(HashIndexError, match=r"permission denied.*ask for pgvector"):
            PostgresIndex(connection, "codes")
        connection.execute("RESET ROLE")
        connection.execute("DROP ROLE guest")


def test_without_psycopg_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r'pip install "derefl\[pgvector\]"'):
        PostgresIndex("postgresql://", "codes")


def test_the_example_finds_a_cup_of_coffee(examples, schema, monkeypatch, capsys):
    monkeypatch.setenv("DATABASE_URL", schema)
    monkeypatch.setattr(sys, "argv", ["search_with_pgvector"])
    for _ in range(2):  # the second time, the photos are already indexed
        runpy.run_path(str(examples / "search_with_pgvector.py"))
        title, nearest, *_ = capsys.readouterr().out.splitlines()
        assert title == "nearest to 'a cup of coffee' of 15 photos:"
        assert nearest.endswith("coffee.jpg")


def test_the_benchmark_deletes_its_table(server, capsys):
    command = ["--postgres", server, "--codes", "2000", "--runs", "3", "--json"]
    stores.main([*command, "--hnsw", "--clustered"])
    exact, hnsw = json.loads(capsys.readouterr().out)["rows"]
    assert (exact["index"], exact["recall"], hnsw["index"]) == ("exact", 1, "HNSW")
    assert hnsw["recall"] > 0.9
    assert 0 < exact["on disk, MB"] < hnsw["on disk, MB"]
    with psycopg.connect(server) as connection:
        assert connection.execute("SELECT to_regnamespace('derefl_bench')").fetchone() == (None,)
