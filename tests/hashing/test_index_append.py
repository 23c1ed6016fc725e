"""Saving to the file that an index came from: what is new is appended, and nothing can be lost."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from derefl.errors import HashIndexError
from derefl.hashing import index_file, index_write
from derefl.hashing.index import HashIndex

RNG = np.random.default_rng(0)
NUMBERS, NAMES = list(range(3, 403, 2)), [f"photos/{i} é.jpg" for i in range(199)] + [7]


def some(n):
    return RNG.integers(0, 256, (n, 8), np.uint8)


def state(index):
    """All that an index holds."""
    return index.ids, index.codes.tolist(), index.extra, index.model


@pytest.fixture(params=["numbers", "names"])
def saved(request, tmp_path):
    """An index of 200 codes in a file, the file, and ids that are not in it."""
    ids = NUMBERS if request.param == "numbers" else NAMES
    index = HashIndex(64, "net", "ab" * 32)
    index.add(some(200), ids)
    index.extra = {"folder": "photos"}
    path = tmp_path / "it.lcdh"
    index.save(path)
    return index, path, [1000 + i if ids is NUMBERS else f"new {i}" for i in range(200)]


def inode(path):
    """Which file it is: another one after it was written anew."""
    return path.stat().st_ino


def changed_bytes(before, after):
    """Where a file is not what it was, and how much longer it is."""
    old, new = np.frombuffer(before, np.uint8), np.frombuffer(after, np.uint8)
    return np.flatnonzero(old != new[: len(old)]), len(new) - len(old)


@pytest.mark.parametrize("loaded", [True, False])
def test_what_is_new_is_appended_to_the_same_file(saved, loaded):
    index, path, new = saved
    writer = HashIndex.load(path) if loaded else index
    before, was = path.read_bytes(), inode(path)
    codes = some(3)
    writer.add(codes, new[:3])
    writer.save(path)
    assert inode(path) == was
    again = HashIndex.load(path, verify=True)
    assert again.ids == [*writer.ids[:200], *new[:3]]
    assert np.array_equal(again.codes[200:], codes)
    assert state(again) == state(writer)
    places, more = changed_bytes(before, path.read_bytes())
    allowed = set(range(16, 24))  # where the header is
    for place in index_file.open_index(path).head.fields["sections"].values():
        row = place["shape"][1:] or [np.dtype(place["dtype"]).itemsize]
        start, end = place["checksums"][0][0], place["shape"][0]
        allowed |= set(range(place["offset"] + start * row[0], place["offset"] + end * row[0]))
    assert set(places.tolist()) <= allowed  # otherwise only what is new
    assert 0 < more < 2000  # a new header


def test_appending_many_times_and_then_anew(saved):
    _, path, new = saved
    was, writer, inodes = inode(path), HashIndex.load(path), []
    for number, id in enumerate(new):
        writer.add(some(1), [id])
        if number % 3 == 0:
            writer.extra = {"folder": "photos", "n": number}
        writer.save(path)
        inodes.append(inode(path))
        if number % 17 == 0:
            again = HashIndex.load(path, verify=True)
            assert state(again) == state(writer)
            writer = again
    assert inodes[:20] == [was] * 20  # an eighth of 200, less what names may be longer
    assert len(set(inodes)) <= 8  # 200 to 400 in steps of an eighth, and once too many headers
    assert path.stat().st_size < 3 * len(writer) * 60 + 2 * index_write.SLACK


def test_the_extra_values_alone(saved):
    _, path, _ = saved
    writer, was = HashIndex.load(path), inode(path)
    writer.extra["more"] = ["é"] * 10
    writer.model = "other"
    writer.save(path)
    assert inode(path) == was
    again = HashIndex.load(path, verify=True)
    assert (again.extra, again.model) == ({"folder": "photos", "more": ["é"] * 10}, "other")


def test_large_extra_values_that_stay_do_not_keep_codes_from_being_appended(saved):
    index, path, new = saved
    index.extra = {"much": "x" * 300_000}
    index.save(path)
    for number in range(5):
        was, size = inode(path), path.stat().st_size
        index.add(some(1), [new[number]])
        index.save(path)
        assert inode(path) == was
        assert path.stat().st_size < size + 2000
    assert state(HashIndex.load(path, verify=True)) == state(index)
    for number in range(3):  # but older ones are not kept for ever
        index.extra = {"much": "y" * 300_000, "n": number}
        index.save(path)
    assert path.stat().st_size < 700_000
    assert state(HashIndex.load(path, verify=True)) == state(index)


def test_saving_what_is_saved_changes_nothing(saved):
    index, path, _ = saved
    before = path.read_bytes()
    for writer in (index, HashIndex.load(path)):
        writer.save(path)
        assert path.read_bytes() == before


@pytest.mark.parametrize("change", ["remove", "upsert", "too many", "longer", "other layout"])
def test_other_changes_write_it_anew(saved, change):
    index, path, new = saved
    writer, reader, was = HashIndex.load(path), HashIndex.load(path), inode(path)
    {
        "remove": lambda: writer.remove(writer.ids[:1]),
        "upsert": lambda: writer.upsert(some(2), [writer.ids[5], new[0]]),
        "too many": lambda: writer.add(some(26), new[:26]),
        "longer": lambda: writer.add(some(1), ["x" * 10_000]),
        "other layout": lambda: writer.add(some(60), [*new[:59], 2**70]),
    }[change]()
    writer.save(path)
    assert inode(path) != was
    assert state(HashIndex.load(path, verify=True)) == state(writer)
    assert state(reader) == state(index)
    reader.verify()
    writer.add(some(1), new[70:71])
    now = inode(path)
    writer.save(path)  # from here on it is appended again
    assert inode(path) == now
    assert state(HashIndex.load(path, verify=True)) == state(writer)


def test_whoever_has_the_file_open_keeps_what_they_see(saved):
    index, path, new = saved
    reader, before = HashIndex.load(path), state(index)
    writer = HashIndex.load(path)
    for id in new[:5]:
        writer.add(some(1), [id])
        writer.save(path)
    assert state(reader) == before
    assert reader.search(reader.codes[:1], 1)[0][0].id == reader.ids[0]
    reader.verify()
    assert len(HashIndex.load(path)) == 205


def test_of_two_writers_the_last_one_wins(saved):
    index, path, new = saved
    one, two = HashIndex.load(path), HashIndex.load(path)
    one.add(some(2), new[:2])
    one.save(path)
    two.add(some(3), new[10:13])
    two.save(path)  # does not go on where the other one appended
    assert HashIndex.load(path, verify=True).ids == [*index.ids, *new[10:13]]
    one.add(some(1), new[20:21])
    one.save(path)
    assert HashIndex.load(path, verify=True).ids == [*index.ids, *new[:2], *new[20:21]]


def test_a_writer_that_holds_the_lock_is_not_disturbed(saved):
    import fcntl

    index, path, new = saved
    writer, was, content = HashIndex.load(path), inode(path), path.read_bytes()
    writer.add(some(1), new[:1])
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer.save(path)
        assert other.read() == content
    assert inode(path) != was
    assert HashIndex.load(path, verify=True).ids == [*index.ids, new[0]]


def test_saved_elsewhere_it_is_whole_there(saved, tmp_path):
    _, path, new = saved
    writer = HashIndex.load(path)
    writer.add(some(1), new[:1])
    before = path.read_bytes()
    writer.save(tmp_path / "copy.lcdh")
    assert path.read_bytes() == before
    assert state(HashIndex.load(tmp_path / "copy.lcdh", verify=True)) == state(writer)
    path.unlink()
    writer.save(path)  # the file is gone
    assert state(HashIndex.load(path, verify=True)) == state(writer)


class Recorder:
    """A file whose writes are written down."""

    def __init__(self, file, writes):
        self.file, self.writes = file, writes

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.writes.append((self.file.tell(), bytes(content)))
        return self.file.write(content)


@pytest.mark.parametrize("extra", [False, True])
def test_a_crash_at_any_moment_leaves_the_old_index_or_the_new_one(saved, monkeypatch, extra):
    """Every write is undone from the last on, and the first one left is torn at several places."""
    index, path, new = saved
    before, old = path.read_bytes(), state(index)
    writer, writes = HashIndex.load(path), []
    writer.add(some(4), new[:4])
    if extra:
        writer.extra = {"folder": "others"}
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: Recorder(real(self, mode), writes))
    writer.save(path)
    monkeypatch.undo()
    assert state(HashIndex.load(path, verify=True)) == state(writer)
    assert writes[-1][0] == 0 and len(writes[-1][1]) == index_file.PREFIX.size
    columns = 2 if index.integer_ids is not None else 4
    assert len(writes) == columns + extra + 2
    for number, (_, content) in enumerate(writes):
        for torn in sorted({0, 1, 7, len(content) // 2, len(content) - 1}):
            disk = bytearray(before)
            for at, piece in [*writes[:number], (writes[number][0], content[:torn])]:
                disk.extend(bytes(max(0, at + len(piece) - len(disk))))
                disk[at : at + len(piece)] = piece
            if number == len(writes) - 1 and 16 < torn < 24:
                continue  # 8 bytes, which are written whole
            path.write_bytes(disk)
            found = HashIndex.load(path, verify=True)
            assert state(found) == old
            found.add(some(2), new[50:52])  # and it can go on from there
            found.save(path)
            assert state(HashIndex.load(path, verify=True)) == state(found)


def test_the_new_header_is_on_the_disk_before_it_counts(saved, monkeypatch):
    _, path, new = saved
    before, seen = path.read_bytes()[: index_file.PREFIX.size], []
    real = os.fsync

    def fsync(number):
        real(number)
        seen.append(path.read_bytes())

    monkeypatch.setattr(index_write.os, "fsync", fsync)
    writer = HashIndex.load(path)
    writer.add(some(1), new[:1])
    writer.save(path)
    (at_that_time,) = seen
    assert at_that_time[: index_file.PREFIX.size] == before
    assert at_that_time[24:] == path.read_bytes()[24:]


def test_a_failed_append_leaves_the_old_index(saved, monkeypatch):
    index, path, new = saved

    def full(_):
        raise OSError("no space left on device")

    writer = HashIndex.load(path)
    writer.add(some(1), new[:1])
    monkeypatch.setattr(index_write.os, "fsync", full)
    with pytest.raises(HashIndexError, match="cannot be written: no space left"):
        writer.save(path)
    assert state(HashIndex.load(path, verify=True)) == state(index)
    monkeypatch.undo()
    writer.save(path)
    assert state(HashIndex.load(path, verify=True)) == state(writer)


def test_every_cut_of_an_appended_file_is_found(saved):
    _, path, new = saved
    writer = HashIndex.load(path)
    writer.add(some(2), new[:2])
    writer.save(path)
    whole = path.read_bytes()
    places = [p["offset"] for p in index_file.open_index(path).head.fields["sections"].values()]
    for length in {*places, *(p + 1 for p in places), *range(len(whole) - 1100, len(whole), 7), 23}:
        path.write_bytes(whole[:length])
        with pytest.raises(HashIndexError, match="cut short"):
            HashIndex.load(path)


def test_a_copy_of_the_file_is_as_good_as_the_file(saved, tmp_path):
    _, path, new = saved
    writer, copy = HashIndex.load(path), tmp_path / "copy.lcdh"
    shutil.copy(path, copy)
    was = inode(copy)
    writer.add(some(1), new[:1])
    writer.save(copy)
    assert inode(copy) == was
    assert state(HashIndex.load(copy, verify=True)) == state(writer)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_sequence_of_changes_and_saves(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("index") / "it.lcdh"
    index, model, next_id = HashIndex(64), {}, 0
    number = data.draw(st.booleans())
    for _ in range(data.draw(st.integers(1, 12))):
        kind = data.draw(st.sampled_from(["add", "add", "add", "upsert", "remove", "load"]))
        n = data.draw(st.integers(0, 30))
        ids = [next_id + i if number else f"{next_id + i}" for i in range(n)]
        if kind == "add":
            codes = some(n)
            index.add(codes, ids)
            model |= dict(zip(ids, codes.tolist(), strict=True))
            next_id += n
        elif kind == "load" and path.exists():
            index.save(path)
            index = HashIndex.load(path)
        elif model:
            ids = data.draw(st.lists(st.sampled_from(list(model)), unique=True, max_size=3))
            if kind == "remove":
                index.remove(ids)
                model = {id: code for id, code in model.items() if id not in ids}
            else:
                codes = some(len(ids))
                index.upsert(codes, ids)
                model |= dict(zip(ids, codes.tolist(), strict=True))
        index.save(path)
        again = HashIndex.load(path, verify=True)
        assert again.ids == index.ids == list(model)
        assert again.codes.tolist() == index.codes.tolist() == list(model.values())
        assert [id in index for id in model] == [True] * len(model)
