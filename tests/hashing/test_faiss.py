"""Conversion to FAISS and back with the real FAISS: same codes, neighbours and ids."""

import builtins
import json
import os

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from derefl.cli import main
from derefl.errors import ConfigError, HashIndexError, MissingExtraError, OutputError
from derefl.hashing.codes import BITS
from derefl.hashing.index.base import Hit
from derefl.hashing.index.faiss import (
    KINDS,
    export_faiss,
    from_faiss,
    import_faiss_file,
    side_file,
    to_faiss,
)
from derefl.hashing.index.hash_index import HashIndex

RNG = np.random.default_rng(0)
IDS = {
    "rising": list(range(7, 3007, 3)),
    "in no order": RNG.permutation(10**6)[:1000].tolist(),
    "strings": [f"photos/{i} é.jpg" for i in range(998)] + [7, "\udce4.jpg"],
    "long integers": [2**70 + i for i in range(1000)],
}


def made(ids, bits=64):
    index = HashIndex(bits, "net", "ab" * 32)
    index.add(RNG.integers(0, 256, (len(ids), bits // 8), np.uint8), ids)
    index.extra = {"files": {"a": [1, 2]}}
    return index


def same_index(a, b):
    return (
        (a.bits, a.model, a.sha256, a.ids, a.extra) == (b.bits, b.model, b.sha256, b.ids, b.extra)
        and np.array_equal(a.codes, b.codes)
        and [type(id) for id in a.ids] == [type(id) for id in b.ids]
    )


def agree(hits, distances, rows):
    """Whether FAISS found the same; at the last distance, any tied items are correct."""
    for ours, away, theirs in zip(hits, distances.tolist(), rows.tolist(), strict=True):
        found = [pair for pair in zip(away, theirs, strict=True) if pair[1] >= 0]
        last = found[-1][0]
        nearer = {(hit.distance, hit.id) for hit in ours if hit.distance < last}
        if [hit.distance for hit in ours] != [distance for distance, _ in found]:
            return False
        if nearer != {pair for pair in found if pair[0] < last}:
            return False
    return True


@pytest.mark.parametrize("bits", BITS)
def test_flat_finds_the_same_at_the_same_distances(bits):
    index = made(IDS["in no order"], bits)
    queries = RNG.integers(0, 256, (20, bits // 8), np.uint8)
    distances, ids = to_faiss(index).search(queries, 15)
    assert agree(index.search(queries, 15), distances, ids)


def test_all_lists_and_long_walks_find_what_is_found_exactly():
    index = made(IDS["in no order"])
    queries = RNG.integers(0, 256, (20, 8), np.uint8)
    exact = index.search(queries, 10)
    ivf, hnsw = to_faiss(index, "ivf", lists=20), to_faiss(index, "hnsw")
    faiss.downcast_IndexBinary(ivf.index).nprobe = 20
    faiss.downcast_IndexBinary(hnsw.index).hnsw.efSearch = 1000
    assert agree(exact, *ivf.search(queries, 10))
    assert agree(exact, *hnsw.search(queries, 10))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", IDS)
def test_round_trip_through_files(tmp_path, kind, ids):
    index, path = made(IDS[ids]), tmp_path / "it.faiss"
    export_faiss(index, path, kind)
    back = import_faiss_file(path)
    assert same_index(index, back)
    query = RNG.integers(0, 256, (3, 8), np.uint8)
    assert back.search(query, 20) == index.search(query, 20)
    # FAISS itself finds a code by its id, or by its row without such ids
    found = faiss.read_index_binary(str(path)).search(index.codes[500:501], 1)
    assert found[0].tolist() == [[0]]
    row = found[1][0][0]
    assert (index.ids[row] if index.integer_ids is None else row) == index.ids[500]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["it.faiss", "it.faiss.json"]


def test_a_file_name_that_is_not_valid_utf8(tmp_path):
    index, path = made(IDS["strings"]), tmp_path / "it.faiss"
    export_faiss(index, path, "flat")
    odd = tmp_path / os.fsdecode(b"caf\xe9.faiss")
    path.rename(odd)
    side_file(path).rename(side_file(odd))
    assert same_index(index, import_faiss_file(odd))


def test_files_of_others_need_no_side_file(tmp_path):
    codes = RNG.integers(0, 256, (300, 8), np.uint8)
    flat, ivf = faiss.IndexBinaryFlat(64), faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(64), 64, 4)
    flat.add(codes)
    ivf.train(codes)
    ids = RNG.permutation(10_000)[:300]
    ivf.add_with_ids(codes, ids)
    for theirs, expected in [(flat, np.arange(300)), (ivf, ids)]:
        faiss.write_index_binary(theirs, str(tmp_path / "it.faiss"))
        index = import_faiss_file(tmp_path / "it.faiss")
        assert dict(zip(index.ids, index.codes.tolist(), strict=True)) == dict(
            zip(expected.tolist(), codes.tolist(), strict=True)
        )
        assert (index.model, index.sha256, index.extra) == ("", "", {})
    assert index.ids == sorted(ids.tolist())  # the lists do not store the order of insertion
    named = from_faiss(flat, [f"{i}.jpg" for i in range(300)], "net")
    assert named.search(codes[5], 1) == [Hit("5.jpg", 0)]
    assert named.model == "net"


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_an_empty_index(kind, tmp_path):
    export_faiss(HashIndex(32, "net"), tmp_path / "it.faiss", kind)
    assert same_index(import_faiss_file(tmp_path / "it.faiss"), HashIndex(32, "net"))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 70))
def test_ties_are_where_faiss_may_choose(values, k):
    codes = np.array([[value, 0] for value in values], np.uint8)
    index = HashIndex(16)
    index.add(codes, range(len(codes)))
    assert agree(index.search(codes[:2], k), *to_faiss(index).search(codes[:2], k))


# errors


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda i: to_faiss(i, "lsh"), ConfigError, "got kind='lsh', expected one of flat, ivf, h"),
        (lambda i: to_faiss(i, "ivf", lists=0), ConfigError, "expected lists of at least 1"),
        (lambda i: to_faiss(i, "hnsw", links=1), ConfigError, "links from 2 to 1024"),
        (lambda i: to_faiss(i, "hnsw", links=10**14), ConfigError, "links from 2 to 1024"),
        (lambda i: to_faiss(i, "ivf", lists=30), HashIndexError, "got 20 codes for 30 lists"),
        (lambda i: to_faiss(HashIndex(64), "ivf"), HashIndexError, "got 0 codes for 1 lists"),
        (lambda i: from_faiss(faiss.IndexBinaryFlat(24)), ConfigError, "got bits=24"),
        (lambda i: from_faiss(faiss.IndexBinaryHash(64, 8)), HashIndexError, "IndexBinaryHash"),
        (lambda i: from_faiss(to_faiss(i), ["a"]), HashIndexError, "got 20 codes and 1 ids"),
        (lambda i: export_faiss(i, "/dev/null/it.faiss"), OutputError, "cannot be written"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error) as caught:
        call(made(range(20)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "it.faiss"
    faiss.write_index(faiss.IndexFlatL2(64), str(tmp_path / "floats"))
    (tmp_path / "text").write_text("something else")
    for other in (path, tmp_path / "floats", tmp_path / "text"):
        with pytest.raises(HashIndexError, match="cannot be read as a binary index of FAISS"):
            import_faiss_file(other)


@pytest.mark.parametrize(
    "change",
    [{"ids": 5}, {"extra": []}, {"sha256": None}, {"ids": ["a"]}, "{", "[]", "{}", "[" * 100_000],
    ids=lambda change: str(change)[:20],
)
def test_a_side_file_that_does_not_fit(tmp_path, change):
    path = tmp_path / "it.faiss"
    export_faiss(made(range(20)), path)
    side = side_file(path)
    text = json.dumps(json.loads(side.read_text()) | change) if type(change) is dict else change
    side.write_text(text)
    with pytest.raises(HashIndexError, match=r"json is damaged \(|got 20 codes and 1 ids"):
        import_faiss_file(path)


def test_without_faiss_the_command_that_installs_it_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *args):
        if name == "faiss":
            raise ModuleNotFoundError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r'pip install "derefl\[faiss\]"'):
        to_faiss(made(range(3)))


# commands


@pytest.mark.parametrize("kind", KINDS)
def test_export_and_import(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.chdir(tmp_path)
    index = made(IDS["strings"])
    index.save("photos.lcdh")
    assert main(["faiss", "export", "photos.lcdh", "photos.faiss", "--kind", kind]) == 0
    said = capsys.readouterr().out
    assert f"1000 codes of 64 bits in photos.faiss, kind {kind}; ids: row numbers" in said
    assert "photos.faiss.json" in said
    assert main(["faiss", "import", "photos.faiss", "back.lcdh"]) == 0
    assert "1000 codes of 64 bits in back.lcdh, model 'net'" in capsys.readouterr().out
    assert same_index(HashIndex.load("back.lcdh", verify=True), index)
    for command in (
        ["export", "photos.lcdh", "photos.faiss"],
        ["import", "photos.faiss", "back.lcdh"],
    ):
        assert main(["faiss", *command]) == 1
        assert (
            "already exists; choose another name, or replace it: --overwrite"
            in capsys.readouterr().err
        )
        assert main(["faiss", *command, "--overwrite"]) == 0
