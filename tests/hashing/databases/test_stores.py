"""PostgreSQL and ClickHouse give exactly the hits of a HashIndex."""

import numpy as np
import pytest

from derefl.errors import ConfigError, HashIndexError
from derefl.hashing.index.base import Hit
from derefl.hashing.index.hash_index import HashIndex
from tests.hashing.databases.conftest import clustered
from tests.hashing.fake import FakeHasher

HOSTILE = [
    'codes"; DROP TABLE victim; --',
    "x` y",
    "it's",
    "a.b",
    "%s %(id)s {table} {",
    "ü\\n\n🙂",
]


@pytest.mark.parametrize("bits", [16, 128])  # the other tests have 32 and 64
def test_hits_are_those_of_the_hash_index(make, bits):
    codes, queries = clustered(3000, bits), clustered(100, bits, seed=1)[:3]
    ids = [f"photos/{row:04}.jpg" for row in np.random.default_rng(2).permutation(3000)]
    index, exact = make(bits=bits), HashIndex(bits)
    for start in (0, 1, 2000):
        part = slice(start, {0: 1, 1: 2000}.get(start))
        index.add(codes[part], ids[part])
        exact.add(codes[part], ids[part])
    some = [*ids[::3], "not there", 7]
    for k in (1, 10, 5000):
        assert index.search(queries, k) == exact.search(queries, k)
        assert index.search(queries, k, where=some) == exact.search(queries, k, where=some)
    for radius in (0, bits // 8, bits):
        assert index.within(queries, radius) == exact.within(queries, radius)
        assert index.within(queries, radius, some) == exact.within(queries, radius, some)
    assert index.search(queries[0], 3) == exact.search(queries[0], 3)
    assert index.search(queries, 3, where=[]) == [[]] * 3
    assert len({hit.distance for hit in index.search(queries[0], 100)}) < 100  # there were ties


def test_bits_count_not_bytes(make):
    index = make(bits=128, ids=int)
    flips = np.zeros((129, 128), np.uint8)
    flips[np.tril_indices(129, -1, 128)] = 1
    index.add(np.packbits(flips, axis=1), range(129))
    zero = np.zeros(16, np.uint8)
    assert index.search(zero, 129) == [Hit(n, n) for n in range(129)]
    assert index.search(~zero, 129) == [Hit(n, 128 - n) for n in range(128, -1, -1)]


def test_changes_are_those_of_the_hash_index(make):
    codes = clustered(600, 64)
    index, exact = make(ids=int), HashIndex()
    extremes = [2**63 - 1, -(2**63), *range(398)]
    for one in (index, exact):
        one.add(codes[:400], extremes)
        one.upsert(codes[400:600], [*range(100, 200), *range(1000, 1100)])  # half are known
        one.remove([*range(50, 150), 1000, 2**63 - 1])
        one.add(codes[:1], [5000])
        one.upsert(codes[1:2], [0])
        one.add(codes[:0], [])
        one.upsert(codes[:0], [])
        one.remove([])
    assert len(index) == len(exact)
    assert index.search(codes[::60], 1000) == exact.search(codes[::60], 1000)
    for id in (-(2**63), 50, 150, 1000, 1001, 5000, 2**64, "0", 2**63 - 1, None, 1.5):
        assert (id in index) == (id in exact)


def test_what_is_refused_changes_nothing(make):
    codes = clustered(100, 64)
    index = make(ids=int)
    index.add(codes[:50], range(50))
    before = index.search(codes[:3], 100)
    with pytest.raises(HashIndexError, match=r"id 49 is in the table 'codes' already.*upsert"):
        index.add(codes[49:], range(49, 100))
    with pytest.raises(HashIndexError, match="id 50 is not in the table 'codes'"):
        index.remove([0, 50, 1])
    for id in ("60", 2**63):
        with pytest.raises(HashIndexError, match="are 64-bit integers"):
            index.add(codes[60:62], [60, id])
    assert len(index) == 50
    assert index.search(codes[:3], 100) == before


@pytest.mark.parametrize("id", [1, "a\0b", "\udce4.jpg"])
def test_ids_that_a_text_column_cannot_have(make, id):
    index = make()
    with pytest.raises(HashIndexError, match="are strings of valid Unicode"):
        index.add(clustered(50, 64)[:1], [id])
    assert id not in index
    assert len(index) == 0


def test_queries_of_an_empty_table(make):
    index, query = make(), np.zeros(8, np.uint8)
    with pytest.raises(HashIndexError, match="cannot run in the database"):
        index.search(query, where=lambda id: True)
    assert index.search(query) == index.within(query, 64) == []


def test_a_table_knows_whose_codes_it_has(make):
    codes, hasher = clustered(50, 32), FakeHasher(bits=32)
    known = {"bits": 32, "sha256": hasher.sha256, "ids": int}
    make(model=hasher.name, **known).add(codes, range(50))
    index = make()
    assert (index.bits, index.model, index.sha256) == (32, "fake", hasher.sha256)
    assert len(index) == 50
    index.require(hasher)
    with pytest.raises(HashIndexError, match=r"model 'fake'.*whose codes do not compare"):
        index.require(FakeHasher(bits=32, name="another"))
    with pytest.raises(HashIndexError, match="codes of 32 bits, got a hasher of 64"):
        index.require(FakeHasher(bits=64))
    assert len(make(**known)) == 50
    for other in ({"bits": 64}, {"sha256": "cd" * 32}, {"ids": str}):
        with pytest.raises(HashIndexError, match=f"has {next(iter(other))}="):
            make(**other)
    with pytest.raises(ConfigError, match="bits=48"):
        make(table="another", bits=48)


def test_any_name_is_a_name(make):
    codes = clustered(50, 64)
    victim = make(table="victim")
    victim.add(codes, map(str, range(50)))
    for row, name in enumerate(HOSTILE):
        index = make(table=name, model=name)
        index.add(codes[: row + 1], HOSTILE[: row + 1])
        index.upsert(codes[:1], HOSTILE[:1])
        assert HOSTILE[0] in index
        assert index.search(codes[0], where=HOSTILE[:1]) == [Hit(HOSTILE[0], 0)]
    for row, name in enumerate(HOSTILE):
        index = make(table=name)
        assert index.model == name
        assert {hit.id for hit in index.within(codes[0], 64)} == set(HOSTILE[: row + 1])
        index.remove(HOSTILE[: row + 1])
        assert len(index) == 0
    assert len(victim) == 50
    for name in ("", "a\0b", "\udce4"):
        with pytest.raises(HashIndexError, match="table name"):
            make(table=name)
