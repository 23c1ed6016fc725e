import json
import re
import struct
import tracemalloc
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from derefl.errors import DereflError, HashIndexError
from derefl.hashing import index_file, index_write, scan
from derefl.hashing.codes import BITS
from derefl.hashing.index import HashIndex, Hit
from tests.hashing.fake import FakeHasher
from tests.hashing.old_index import format_1

INTEGERS = st.integers(-3, 30) | st.sampled_from([2**63 - 1, -(2**63), 2**64, 10**30])
STRINGS = st.text(max_size=4) | st.sampled_from(["1", "-1", "", "ä/ü.jpg", "🙂", "\udce4.jpg"])
IDS = st.sampled_from([INTEGERS, STRINGS, INTEGERS | STRINGS]).flatmap(
    lambda ids: st.lists(ids, unique=True, max_size=40)
)


def few_codes(draw, n, bits):
    """Codes [n bits/8], most of them equal or nearly so: ties are the rule."""
    patterns = draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=3))
    flips = [0, 1, 2**bits - 1]
    values = [draw(st.sampled_from(patterns)) ^ draw(st.sampled_from(flips)) for _ in range(n)]
    return np.array([list(v.to_bytes(bits // 8, "big")) for v in values], np.uint8).reshape(
        n, bits // 8
    )


def ordered(codes, ids, query):
    """Every hit by the definition: distance, then place."""
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
    """Equal, and of equal types: 1 is not "1", nor numpy's 1."""
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


@given(indexed())
def test_what_is_in_it(made):
    index, codes, ids, _ = made
    assert len(index) == len(ids)
    assert index.ids == ids
    assert [type(id) for id in index.ids] == [type(id) for id in ids]
    assert np.array_equal(index.codes, codes)
    assert all(id in index for id in ids)
    for stranger in ("not there", 31, None, 1.5, []):
        assert stranger not in index


def test_codes_that_come_nearer_and_nearer():
    """The worst case for the cut: every row is nearer than all before it."""
    index = HashIndex(128)
    codes = np.packbits(np.triu(np.ones((129, 128), np.uint8)), axis=1)
    repeated = np.repeat(codes, 40, axis=0)
    index.add(repeated, range(len(repeated)))
    query = np.zeros(16, np.uint8)
    with patch.object(scan, "BLOCK", 16):
        for k in (1, 39, 40, 41, 100):
            (hits,) = index.search(query, k)
            assert hits == ordered(repeated, range(len(repeated)), query)[:k]


def test_many_rows():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (3 * scan.BLOCK + 17, 8), np.uint8)
    codes[-1] = codes[5]
    index = HashIndex(64)
    index.add(codes, np.arange(len(codes)) * 3)
    for query in codes[[5, 40_000]]:
        distances = np.unpackbits(codes ^ query, axis=1).sum(axis=1)
        order = np.argsort(distances, kind="stable")[:20]
        expected = [Hit(3 * row, distances[row]) for row in order.tolist()]
        assert index.search(query, 20) == [expected]
        assert index.within(query, int(distances[order[-1]]) - 1) == [
            [hit for hit in expected if hit.distance < distances[order[-1]]]
        ]


def test_one_code_is_one_query():
    index = HashIndex(16)
    index.add(np.array([1, 3], np.uint8), ["a"])
    assert index.search(np.array([1, 2], np.uint8)) == [[("a", 1)]]
    assert index.search(np.empty((0, 2), np.uint8)) == []
    assert HashIndex(16).search(np.array([1, 2], np.uint8)) == [[]]


def test_paths_become_strings():
    index = HashIndex(16)
    index.add(np.zeros((2, 2), np.uint8), [Path("a/b.jpg"), np.str_("c")])
    assert index.ids == ["a/b.jpg", "c"]
    assert all(type(id) is str for id in index.ids)
    assert Path("a/b.jpg") in index
    index.remove([Path("a/b.jpg")])
    assert index.ids == ["c"]


# changing it


@st.composite
def steps(draw):
    """A sequence of changes of an index of 16 bits."""
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
        assert index.ids == list(model)
        assert index.codes.tolist() == list(model.values())
        assert index.search(np.zeros(2, np.uint8), 99) == [
            ordered(list(model.values()), list(model), [0, 0])
        ]
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
    HashIndex(64).require(hasher)  # of no particular model
    with pytest.raises(HashIndexError, match=r"codes of 64 bits, got a hasher of 32.*bits=64"):
        index.require(FakeHasher(32, "one"))
    with pytest.raises(HashIndexError, match=r"the model 'one' .*got 'two' .*build the index anew"):
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


def test_adding_step_by_step_needs_an_eighth_more_at_most():
    codes = np.zeros((1000, 8), np.uint8)
    index = HashIndex(64)
    for start in range(0, 100_000, 1000):
        index.add(codes, range(start, start + 1000))
    assert len(index._codes._room) <= 1.13 * 100_000
    assert index._known is None  # rising integers are not looked up
    assert index.ids == list(range(100_000))
    with pytest.raises(HashIndexError, match="the id 99999 is in the index already"):
        index.add(codes[:2], [99_999, 100_000])


# files


@pytest.fixture
def saved(tmp_path):
    """An index in a file, and the file."""
    index = HashIndex(64, "some-model", "ab" * 32)
    index.add(CODES, ["ä.jpg", 7])
    index.extra = {"folder": "photos", "n": [1, 2]}
    path = tmp_path / "new" / "photos.lcdh"
    index.save(path)
    return index, path


@given(indexed())
@settings(max_examples=30)
def test_round_trip(tmp_path_factory, made):
    index, codes, ids, queries = made
    path = tmp_path_factory.mktemp("index") / "it.lcdh"
    index.save(path)
    loaded = HashIndex.load(path, verify=True)
    assert loaded.bits == index.bits
    assert loaded.ids == ids
    assert np.array_equal(loaded.codes, codes)
    assert same(loaded.search(queries, 5), index.search(queries, 5))
    first = path.read_bytes()
    loaded.save(path)  # over the file that it is mapped from
    assert path.read_bytes() == first
    assert same(loaded.search(queries, 5), index.search(queries, 5))


def test_the_file_says_what_it_is(saved):
    index, path = saved
    loaded = HashIndex.load(path)
    assert (loaded.bits, loaded.model, loaded.sha256) == (64, "some-model", "ab" * 32)
    assert loaded.extra == {"folder": "photos", "n": [1, 2]}
    assert index_file.open_index(path).head.fields["count"] == 2
    assert list(path.parent.iterdir()) == [path]
    assert repr(loaded) == repr(index) == "<HashIndex of 2 codes of 64 bits, model 'some-model'>"


def test_loading_maps_the_file(saved):
    _, path = saved
    loaded = HashIndex.load(path)
    assert not loaded.codes.flags.owndata
    assert all(not values.flags.writeable for values in loaded._ids.columns.values())
    file = index_file.open_index(path)
    for column in file.sections.values():
        assert column.values.ctypes.data % index_file.ALIGNMENT == 0


def test_a_changed_index_is_saved_over_its_own_file(saved):
    _, path = saved
    loaded, reader = HashIndex.load(path), HashIndex.load(path)
    loaded.upsert(np.zeros((1, 8), np.uint8), [7])
    loaded.add(np.ones((1, 8), np.uint8), ["new"])
    loaded.extra["folder"] = "others"
    loaded.save(path)
    again = HashIndex.load(path, verify=True)
    assert again.ids == ["ä.jpg", 7, "new"]
    assert again.codes.tolist() == [CODES[0].tolist(), [0] * 8, [1] * 8]
    assert again.extra == {"folder": "others", "n": [1, 2]}
    assert reader.ids == ["ä.jpg", 7]  # still sees what it opened
    reader.verify()


def read_bytes_of(path):
    """Which bytes of a file anything is read from: not the room to grow, nor what fills up."""
    file = index_file.open_index(path)
    prefix = index_file.PREFIX.size
    read = np.zeros(path.stat().st_size, np.bool_)
    read[:12] = read[16:prefix] = True
    read[file.head.place : file.head.place + len(file.head.sealed())] = True
    for name, column in file.sections.items():
        start = file.head.fields["sections"][name]["offset"]
        read[start : start + column.values.nbytes] = True
    return read


@pytest.mark.parametrize("appended", [False, True])
def test_every_flipped_byte_is_found_or_is_not_read(saved, appended):
    index, path = saved
    if appended:
        index.add(np.ones((40, 8), np.uint8), range(100, 140))
        index.save(path)  # anew
        index.add(np.zeros((2, 8), np.uint8), ["new", "newer"])
        inode = path.stat().st_ino
        index.save(path)  # appended
        assert path.stat().st_ino == inode
    whole, file, read = path.read_bytes(), index_file.open_index(path), read_bytes_of(path)
    sections = range(index_file.PREFIX.size, file.head.place)
    step = 3 if appended else 1  # it is longer
    for place in [*np.flatnonzero(read)[::step], *np.flatnonzero(~read)[::5]]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        if not read[place]:
            loaded = HashIndex.load(path, verify=True)
            assert (loaded.ids, loaded.extra) == (index.ids, index.extra)
            assert np.array_equal(loaded.codes, index.codes)
        elif place in sections:
            loaded = HashIndex.load(path)
            with pytest.raises(HashIndexError, match="is damaged: its contents do not match"):
                loaded.verify()
            with pytest.raises(HashIndexError, match="is damaged: its contents do not match"):
                HashIndex.load(path, verify=True)
        else:
            with pytest.raises(HashIndexError, match=re.escape(str(path))):
                HashIndex.load(path)


def test_every_cut_is_found(saved):
    _, path = saved
    whole, head = path.read_bytes(), index_file.open_index(path).head
    assert len(whole) == head.place + len(head.sealed())
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(HashIndexError, match=r"cut short|cannot be read as an index"):
            HashIndex.load(path)


def test_files_of_the_first_format_are_read_and_checked(saved):
    index, path = saved
    whole = format_1(index)
    path.write_bytes(whole)
    loaded = HashIndex.load(path, verify=True)
    assert (loaded.bits, loaded.model, loaded.sha256) == (64, "some-model", "ab" * 32)
    assert (loaded.ids, loaded.extra) == (index.ids, index.extra)
    assert loaded.search(CODES, 2) == index.search(CODES, 2)
    body = len(whole) - int(re.search(rb'"body_bytes": (\d+)', whole)[1])
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        with pytest.raises(HashIndexError, match=re.escape(str(path))):
            HashIndex.load(path, verify=place >= body)
    for content in [whole[:-1], whole[: body - 1], whole[:19], whole + b"\0"]:
        path.write_bytes(content)
        with pytest.raises(HashIndexError, match=r"cut short|bytes, expected"):
            HashIndex.load(path)


def test_a_file_of_the_first_format_is_saved_in_the_second(saved):
    index, path = saved
    path.write_bytes(format_1(index))
    loaded = HashIndex.load(path)
    loaded.add(np.ones((1, 8), np.uint8), ["new"])
    loaded.save(path)
    assert index_file.open_index(path).version == 2
    assert HashIndex.load(path, verify=True).ids == [*index.ids, "new"]


def test_damaged_ids_and_extra_values_are_said_to_be_damaged(saved):
    index, path = saved
    whole = path.read_bytes()
    path.write_bytes(whole.replace("ä.jpg".encode(), b"\xff\xff.jpg"))
    with pytest.raises(HashIndexError, match="an id cannot be read"):
        HashIndex.load(path).search(CODES)
    path.write_bytes(whole.replace(b'{"folder"', b'{{folder"'))
    loaded = HashIndex.load(path)
    assert loaded.search(CODES) == index.search(CODES)
    with pytest.raises(HashIndexError, match="extra values cannot be read"):
        _ = loaded.extra


def rewrite_header(path, change):
    """Change the header, with a checksum that fits."""
    whole, head = path.read_bytes(), index_file.open_index(path).head
    fields = json.loads(head.text)
    change(fields)
    forged = index_file.Head(head.place, json.dumps(fields).encode(), fields)
    path.write_bytes(whole[: head.place] + forged.sealed())


def one_code_less(header):
    header["sections"]["codes"].update(shape=[1, 8], checksums=[[1, ""]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h["sections"]["codes"].update(offset=10**6), "does not lie within it"),
        (lambda h: h["sections"]["codes"].update(shape=[10**6, 8]), "does not lie within it"),
        (lambda h: h["sections"]["codes"].update(dtype="O"), "does not lie within it"),
        (lambda h: h["sections"]["codes"].update(room=1), "does not lie within it"),
        (lambda h: h["sections"]["codes"].update(room=10**6), "does not lie within it"),
        (lambda h: h["sections"]["codes"].pop("room"), "does not lie within it"),
        (lambda h: h["sections"]["codes"].update(checksums=[]), "does not lie within it"),
        (lambda h: h["sections"]["codes"].update(checksums=[[1, ""]]), "does not lie within it"),
        (one_code_less, "numbers of codes and ids differ"),
        (lambda h: h["sections"].pop("codes"), "is damaged ('codes')"),
        (lambda h: h.update(bits=65), "got bits=65"),
        (lambda h: h.update(bits=32), "codes of 64 bits, expected 32"),
        (lambda h: h.update(count=3), "numbers of codes and ids differ"),
    ],
)
def test_a_header_that_does_not_fit(saved, change, words):
    _, path = saved
    rewrite_header(path, change)
    with pytest.raises(HashIndexError) as error:
        HashIndex.load(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_other_files_are_refused(saved, tmp_path):
    _, path = saved
    whole = path.read_bytes()
    newer = whole[:8] + struct.pack("<I", 3) + whole[12:]
    for content, words in {
        newer: "is of format 3, expected 2: another version of derefl wrote it",
        b"PK\x03\x04" + bytes(100): "is no index of derefl",
        b"{}": "is no index of derefl",
        b"": "cannot be read as an index",
        whole.replace(b"\r\n", b"\n"): "is no index of derefl",
    }.items():
        path.write_bytes(content)
        with pytest.raises(HashIndexError) as error:
            HashIndex.load(path)
        assert words in str(error.value)
    with pytest.raises(HashIndexError, match="there is no such file; make it with: derefl index"):
        HashIndex.load(tmp_path / "missing.lcdh")
    with pytest.raises(HashIndexError, match="cannot be read as an index"):
        HashIndex.load(tmp_path)


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    index, path = saved
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    index.remove([7])
    monkeypatch.setattr(index_write, "put_head", full)  # after the sections
    with pytest.raises(DereflError, match="cannot be written: no space left"):
        index.save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
