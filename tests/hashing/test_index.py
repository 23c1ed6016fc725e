import tracemalloc
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from derefl.errors import DereflError, HashIndexError
from derefl.hashing.codes import BITS
from derefl.hashing.index import scan
from derefl.hashing.index.base import Hit
from derefl.hashing.index.hash_index import HashIndex
from tests.hashing.fake import COLOURS, FakeHasher

INTEGERS = st.integers(-3, 30) | st.sampled_from([2**63 - 1, -(2**63), 2**64, 10**30])
STRINGS = st.text(max_size=4) | st.sampled_from(["1", "-1", "", "ä/ü.jpg", "🙂", "\udce4.jpg"])
IDS = st.sampled_from([INTEGERS, STRINGS, INTEGERS | STRINGS]).flatmap(
    lambda ids: st.lists(ids, unique=True, max_size=40)
)


def few_codes(draw, n, bits):
    """Codes [n bits/8], most of them equal or nearly equal, with many ties."""
    patterns = draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=3))
    flips = [0, 1, 2**bits - 1]
    values = [draw(st.sampled_from(patterns)) ^ draw(st.sampled_from(flips)) for _ in range(n)]
    return np.array([list(v.to_bytes(bits // 8, "big")) for v in values], np.uint8).reshape(
        n, bits // 8
    )


def ordered(codes, ids, query):
    """All hits by definition: sorted by distance, then by row."""
    distances = [
        sum((int(a) ^ int(b)).bit_count() for a, b in zip(code, query, strict=True))
        for code in codes
    ]
    return [
        Hit(ids[row], distances[row]) for row in sorted(range(len(ids)), key=lambda r: distances[r])
    ]


@st.composite
def indexed(draw):
    bits = draw(st.sampled_from(BITS))
    ids = draw(IDS)
    codes, queries = few_codes(draw, len(ids), bits), few_codes(draw, 3, bits)
    index = HashIndex(bits)
    cut = draw(st.integers(0, len(ids)))
    index.add(codes[:cut], ids[:cut])
    index.add(codes[cut:], ids[cut:])
    return index, codes, ids, queries


def same(a, b):
    """Equal with equal types: 1 is not "1", and not numpy's 1."""
    return a == b and [type(hit.id) for hits in a for hit in hits] == [
        type(hit.id) for hits in b for hit in hits
    ]


# against the definition


@given(indexed(), st.integers(1, 50), st.sampled_from([2, 8, scan.BLOCK]))
def test_search(made, k, block):
    index, codes, ids, queries = made
    with patch.object(scan, "BLOCK", block):
        found = index.search(queries, k)
    assert same(found, [ordered(codes, ids, query)[:k] for query in queries])


@given(indexed(), st.integers(0, 128), st.sampled_from([2, 8, scan.BLOCK]))
def test_within(made, radius, block):
    index, codes, ids, queries = made
    with patch.object(scan, "BLOCK", block):
        found = index.within(queries, radius)
    expected = [[h for h in ordered(codes, ids, q) if h.distance <= radius] for q in queries]
    assert same(found, expected)


@given(indexed(), st.data())
def test_filter(made, data):
    index, codes, ids, queries = made
    allowed = data.draw(st.lists(st.sampled_from(ids)) if ids else st.just([]))
    expected = [[h for h in ordered(codes, ids, q) if h.id in allowed] for q in queries]
    with patch.object(scan, "BLOCK", 4):
        for where in (allowed, set(allowed), lambda id: id in allowed, [*allowed, "not there"]):
            assert same(index.search(queries, 7, where), [hits[:7] for hits in expected])
            assert same(index.within(queries, 128, where), expected)


def test_codes_that_come_nearer_and_nearer():
    """The worst case for the threshold: every row is nearer than all rows before it."""
    index = HashIndex(128)
    codes = np.packbits(np.triu(np.ones((129, 128), np.uint8)), axis=1)
    repeated = np.repeat(codes, 40, axis=0)
    index.add(repeated, range(len(repeated)))
    query = np.zeros(16, np.uint8)
    with patch.object(scan, "BLOCK", 16):
        for k in (1, 39, 40, 41, 100):
            assert index.search(query, k) == ordered(repeated, range(len(repeated)), query)[:k]


@given(indexed(), st.integers(1, 50))
def test_the_result_has_the_shape_of_the_query(made, k):
    index, _, ids, queries = made
    hits = index.search(queries, k)
    for query, expected in zip(queries, hits, strict=True):
        assert index.search(query, k) == expected
        assert index.within(query, 3) == index.within(query[None], 3)[0]
        found, distances = index.search_arrays(query, k)
        assert list(zip(found.tolist(), distances.tolist(), strict=True)) == expected
    found, distances = index.search_arrays(queries, k)
    assert found.shape == distances.shape == (len(queries), min(k, len(ids)))
    assert found.tolist() == [[hit.id for hit in some] for some in hits]
    assert distances.tolist() == [[hit.distance for hit in some] for some in hits]


@given(indexed(), st.integers(0, 5), st.sampled_from([1, 3, scan.QUERIES]))
def test_duplicates(made, radius, queries):
    index, codes, ids, _ = made
    bits = np.unpackbits(codes, axis=1).astype(int)
    distances = np.abs(bits[:, None] - bits[None]).sum(axis=2)
    linked = np.linalg.matrix_power((distances <= radius).astype(float), max(1, len(ids))) > 0
    groups = {tuple(np.flatnonzero(row).tolist()) for row in linked}
    with patch.object(scan, "QUERIES", queries):
        assert index.duplicates(radius) == [
            [Hit(ids[row], distances[rows[0], row]) for row in rows]
            for rows in sorted(groups)
            if len(rows) > 1
        ]


def test_texts_and_pictures_as_queries(tmp_path):
    hasher, red = FakeHasher(64), Image.new("RGB", (8, 8), "red")
    red.save(tmp_path / "red.png")
    index = HashIndex(64, "org/it", hasher.sha256)
    index.add(hasher.encode_text([*COLOURS]), COLOURS)
    with pytest.raises(
        HashIndexError, match=r"index\.hasher = load_lcdh_student\('org/it', bits=64"
    ):
        index.search("red")
    index.hasher = hasher
    content = bytearray((tmp_path / "red.png").read_bytes())
    for query in ("red", red, tmp_path / "red.png", bytes(content), content):
        assert index.search(query, k=2) == index.search([query], k=2)[0]
        assert index.search(query, k=1) == index.within(query, 0) == [Hit("red", 0)]
    blue, black = index.search(["blue", "black"], k=1)
    assert (blue[0].id, black[0].id) == ("blue", "black")
    assert index.search([red, red], k=1) == [[Hit("red", 0)]] * 2
    assert index.search(colour for colour in ["red", "red"])[1][0] == Hit("red", 0)
    assert index.search([]) == []
    with pytest.raises(DereflError, match="expected a text, a picture"):
        index.search(None)
    hasher.sha256 = "of the weights after training"
    with pytest.raises(HashIndexError, match="whose codes do not compare"):
        index.search("red")


def test_paths_become_strings():
    index = HashIndex(16)
    index.add(np.zeros((2, 2), np.uint8), [Path("a/b.jpg"), np.str_("c")])
    assert index.ids == ["a/b.jpg", "c"]
    assert all(type(id) is str for id in index.ids)
    assert Path("a/b.jpg") in index
    index.remove([Path("a/b.jpg")])
    assert index.ids == ["c"]


# changes


@st.composite
def steps(draw):
    """A sequence of changes of a 16-bit index."""
    result = []
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["add", "upsert", "remove", "reload"]))
        ids = draw(st.lists(st.integers(0, 9) | st.sampled_from("abcdefgh"), unique=True))
        result.append((kind, ids, few_codes(draw, len(ids), 16)))
    return result


@given(steps())
def test_any_sequence_of_changes(tmp_path_factory, changes):
    file = tmp_path_factory.mktemp("index") / "it.lcdh"
    index, model = HashIndex(16), {}
    for kind, ids, codes in changes:
        saved = file.read_bytes() if file.exists() else b""
        rows = dict(zip(ids, codes.tolist(), strict=True))
        refused = (kind == "add" and rows.keys() & model) or (
            kind == "remove" and rows.keys() - model
        )
        with pytest.raises(HashIndexError) if refused else nullcontext():
            if kind == "reload":
                index.save(file)
                index = HashIndex.load(file, verify=True)
                saved = file.read_bytes()
            elif kind == "remove":
                index.remove(ids)
            else:
                getattr(index, kind)(codes, ids)
        if kind == "remove" and not refused:
            model = {id: code for id, code in model.items() if id not in rows}
        elif kind in ("add", "upsert") and not refused:
            model |= rows
        assert index.ids == list(model) and list(map(type, index.ids)) == list(map(type, model))
        assert all((id in index) == (id in model) for id in [*range(9), *"abc", None, 1.5])
        assert [] not in index
        assert index.codes.tolist() == list(model.values())
        expected = ordered(list(model.values()), list(model), [0, 0])
        assert index.search(np.zeros(2, np.uint8), 99) == expected
        assert (file.read_bytes() if file.exists() else b"") == saved


def test_what_was_given_out_stays_as_it_was():
    index = HashIndex(16)
    given_in = np.array([[1, 2]], np.uint8)
    index.add(given_in, [0])
    before = index.codes
    given_in[:] = 9
    index.upsert(np.array([[3, 4], [5, 6]], np.uint8), [0, 1])
    index.remove([1])
    assert before.tolist() == [[1, 2]]
    assert index.codes.tolist() == [[3, 4]]
    with pytest.raises(ValueError, match="read-only"):
        index.codes[0] = 0


CODES = np.arange(16, dtype=np.uint8).reshape(2, 8)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda i: i.add(CODES, ["a", "c"]), "the id 'a' is in the index already; use upsert"),
        (lambda i: i.add(CODES, ["c", "c"]), "an id is given twice"),
        (lambda i: i.add(CODES, [7, 7]), "an id is given twice"),
        (lambda i: i.upsert(CODES, ["c", "c"]), "an id is given twice"),
        (lambda i: i.add(CODES, ["c"]), "got 2 codes and 1 ids"),
        (lambda i: i.upsert(CODES, ["a", "b"], [1, 2]), "stamps of shape [2], expected [2, 2]"),
        (lambda i: i.add(CODES, "ab"), "expected a list of ids; write ['ab']"),
        (lambda i: i.add(CODES, 7), "expected a list of ids; write [7]"),
        (lambda i: i.add(CODES, ["c", 1.5]), "got the id 1.5 of type float"),
        (lambda i: i.add(CODES, ["c", True]), "got the id True of type bool"),
        (lambda i: i.add(CODES[:, :4], ["c", "d"]), "codes of 32 bits, expected 64"),
        (lambda i: i.remove(["a", "z"]), "the id 'z' is not in the index"),
        (lambda i: i.remove("ab"), "expected a list of ids; write ['ab']"),
        (lambda i: i.search(CODES[:, :4]), "query codes of 32 bits, expected 64"),
        (lambda i: i.search(CODES * 1.0), "query codes of type float64"),
        (lambda i: i.search(CODES, 0), "got k=0, expected at least 1"),
        (lambda i: i.search(CODES, where="ab"), "write ['ab']"),
        (lambda i: i.within(CODES, -1), "got radius=-1"),
        (lambda i: i.duplicates(-1), "got radius=-1"),
        (lambda i: HashIndex(48), "got bits=48, expected one of 16, 32, 64, 128"),
    ],
)
def test_errors_leave_it_as_it_was(call, words):
    index = HashIndex(64)
    index.add(CODES, ["a", "b"])
    with pytest.raises(DereflError) as error:
        call(index)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert index.ids == ["a", "b"]
    assert np.array_equal(index.codes, CODES)


def test_a_hasher_of_other_codes_is_refused():
    hasher = FakeHasher(64, "one")
    index = HashIndex(64, "one", hasher.sha256)
    index.require(hasher)
    HashIndex(64).require(hasher)  # without a model
    with pytest.raises(HashIndexError, match=r"codes of 64 bits, got a hasher of 32.*bits=64"):
        index.require(FakeHasher(32, "one"))
    message = r"the model 'one' .*got 'two' .*build the index again"
    with pytest.raises(HashIndexError, match=message):
        index.require(FakeHasher(64, "two"))


# memory


def test_a_search_needs_a_fifth_of_codes_and_ids_at_most():
    rng = np.random.default_rng(0)
    index = HashIndex(64)
    index.add(rng.integers(0, 256, (500_000, 8), np.uint8), np.arange(500_000))
    query = rng.integers(0, 256, 8, np.uint8)
    tracemalloc.start()
    try:
        index.search(query)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.2 * 500_000 * 16


def test_adding_step_by_step_copies_nothing():
    codes, index = np.zeros((1000, 8), np.uint8), HashIndex(64)
    tracemalloc.start()
    try:
        for start in range(0, 100_000, 1000):
            index.add(codes, range(start, start + 1000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * 100_000 * 16  # no dictionary for rising integers
    assert index.ids == list(range(100_000))
    with pytest.raises(HashIndexError, match="the id 99999 is in the index already"):
        index.add(codes[:2], [99_999, 100_000])


def test_stamps_stay_with_their_ids():
    index = HashIndex(16)
    codes = np.zeros((3, 2), np.uint8)
    index.add(codes[:2], ["a", "b"])
    assert index.stamps.tolist() == [[-1, -1]] * 2
    index.upsert(codes, ["c", "b", "d"], np.array([[3, 30], [2, 20], [4, 40]]))
    index.remove(["a"])
    assert dict(zip(index.ids, index.stamps.tolist(), strict=True)) == {
        "b": [2, 20],
        "c": [3, 30],
        "d": [4, 40],
    }
    index.upsert(codes[:1], ["c"])
    assert index.stamps[index.ids.index("c")].tolist() == [-1, -1]
