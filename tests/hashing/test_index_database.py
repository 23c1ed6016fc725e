"""The file of an index: complete, shared by several programs, never half written."""

import json
import resource
import shutil
import sqlite3
import threading
from contextlib import closing, contextmanager
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from derefl.errors import HashIndexError, OutputError
from derefl.hashing.index import database as index_file
from derefl.hashing.index.hash_index import HashIndex

RNG = np.random.default_rng(0)
IDS = {"numbers": list(range(3, 403, 2)), "names": [f"photos/{i} é.jpg" for i in range(199)] + [7]}


def some(n):
    return RNG.integers(0, 256, (n, 8), np.uint8)


def state(index):
    """The complete content of an index."""
    ids = [(type(id), id) for id in index.ids]
    return ids, index.codes.tolist(), index.stamps.tolist(), index.extra, index.model, index.sha256


@pytest.fixture(params=IDS)
def saved(request, tmp_path, monkeypatch):
    """A saved index of 200 codes in blocks of 64, its file, and ids that are not in it."""
    monkeypatch.setattr(index_file, "ROWS", 64)
    ids = IDS[request.param]
    index = HashIndex(64, "net", "ab" * 32)
    index.add(some(200), ids)
    index.extra = {"folder": "photos", "n": [1, 2]}
    path = tmp_path / "new" / "it.lcdh"
    index.save(path)
    return index, path, [1000 + i if ids is IDS["numbers"] else f"new {i}" for i in range(200)]


def test_any_sqlite_tool_can_look_inside(saved):
    index, path, _ = saved
    assert list(path.parent.iterdir()) == [path]
    with closing(sqlite3.connect(path)) as database:
        meta = dict(database.execute("SELECT key, value FROM meta"))
        blocks = database.execute("SELECT codes, ids FROM block ORDER BY number").fetchall()
    assert (meta["bits"], meta["model"], meta["sha256"], meta["count"]) == (
        64,
        "net",
        "ab" * 32,
        200,
    )
    assert [len(codes) for codes, _ in blocks] == [8 * 64] * 3 + [8 * 8]
    assert b"".join(codes for codes, _ in blocks) == index.codes.tobytes()
    if index.integer_ids is None:
        assert [id for _, ids in blocks for id in json.loads(ids)] == index.ids


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_changes_by_two_writers(tmp_path_factory, data):
    """A save keeps the changes that the other writer saved in the meantime."""
    path, file = tmp_path_factory.mktemp("index") / "it.lcdh", {}
    with patch.object(index_file, "ROWS", data.draw(st.sampled_from([1, 3, 4096]))):
        HashIndex(64).save(path)
        indexes = [HashIndex.load(path), HashIndex.load(path)]
        views, changes, fresh = [{}, {}], [{}, {}], 0
        numbers = data.draw(st.booleans())
        for _ in range(data.draw(st.integers(1, 15))):
            who = data.draw(st.integers(0, 1))
            index, view = indexes[who], views[who]
            kind = data.draw(st.sampled_from(["add", "upsert", "remove", "save", "load"]))
            if kind == "save":
                index.save(path)
                file |= changes[who]
                file = {id: value for id, value in file.items() if value is not None}
                views[who], changes[who] = dict(file), {}
                assert contents(index) == contents(HashIndex.load(path, verify=True)) == file
                continue
            if kind == "load":
                indexes[who], views[who], changes[who] = HashIndex.load(path), dict(file), {}
                continue
            if kind == "add":
                ids = range(fresh, fresh := fresh + data.draw(st.integers(0, 7)))
                ids = list(ids) if numbers else list(map(str, ids))
            else:
                ids = data.draw(st.lists(st.sampled_from([*view]), unique=True) if view else NONE)
            codes, stamps = some(len(ids)), RNG.integers(0, 99, (len(ids), 2))
            if kind == "remove":
                index.remove(ids)
                changes[who] |= dict.fromkeys(ids)
            else:
                index.upsert(codes, ids, stamps)
                values = zip(codes.tolist(), stamps.tolist(), strict=True)
                changes[who] |= dict(zip(ids, values, strict=True))
            view |= {id: changes[who][id] for id in ids}
            views[who] = {id: value for id, value in view.items() if value is not None}
            assert contents(index) == views[who]


NONE = st.just([])


def contents(index):
    """Id to code and stamp."""
    values = zip(index.codes.tolist(), index.stamps.tolist(), strict=True)
    return dict(zip(index.ids, values, strict=True))


def test_a_small_change_writes_little(saved):
    index, path, new = saved
    writer = HashIndex.load(path)
    writer.add(some(3), new[:3])
    writer.upsert(some(1), [index.ids[70]])
    with patch.object(index_file, "write_blocks", wraps=index_file.write_blocks) as write:
        writer.save(path)
    assert [*write.call_args.args[2]] == [1, 3]  # the blocks of row 70 and of the last rows
    assert state(HashIndex.load(path, verify=True)) == state(writer)
    before = path.read_bytes()
    for unchanged in (writer, HashIndex.load(path)):
        unchanged.save(path)
        assert path.read_bytes() == before
    writer.extra["more"] = ["é"]
    writer.save(path)
    assert HashIndex.load(path).extra == {"folder": "photos", "n": [1, 2], "more": ["é"]}


def test_a_reader_keeps_what_it_has_read(saved):
    index, path, new = saved
    reader, writer = HashIndex.load(path), HashIndex.load(path)
    writer.remove(writer.ids[:100])
    writer.add(some(5), new[:5])
    writer.save(path)
    assert reader.search(reader.codes[:1], 1)[0][0].id == index.ids[0]
    assert state(reader) == state(index)


def test_saved_elsewhere_the_index_is_whole_there(saved, tmp_path):
    _, path, new = saved
    writer, before = HashIndex.load(path), path.read_bytes()
    writer.add(some(1), new[:1])
    other = tmp_path / "other.lcdh"
    other.write_bytes(b"something else")
    writer.save(other)
    assert path.read_bytes() == before
    assert state(HashIndex.load(other)) == state(writer)
    other.unlink()
    writer.save(other)
    assert state(HashIndex.load(other)) == state(writer)
    HashIndex(32).save(other)  # another index with that name: the writer's index replaces it
    writer.save(other)
    assert state(HashIndex.load(other)) == state(writer)


# several programs at once


def test_a_writer_waits_for_another_one(saved):
    index, path, new = saved
    index.add(some(1), new[:1])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        thread = threading.Thread(target=index.save, args=[path])
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        other.execute("COMMIT")
    thread.join()
    assert state(HashIndex.load(path, verify=True)) == state(index)


def test_a_file_that_stays_in_use_is_said_to_be(saved, monkeypatch):
    _, path, new = saved
    writer = HashIndex.load(path)
    writer.add(some(1), new[:1])
    monkeypatch.setattr(index_file, "WAIT", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for call in (lambda: writer.save(path), lambda: HashIndex.load(path)):
            with pytest.raises(HashIndexError, match="is in use by another program; try again"):
                call()
    writer.save(path)
    assert state(HashIndex.load(path)) == state(writer)


# interrupted writes


@contextmanager
def file_size_limit(size):
    """Limit the size of files, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("part", [0, 0.3, 0.6, 0.99])
def test_a_full_disk_loses_nothing(saved, part):
    index, path, new = saved
    before, size = state(index), path.stat().st_size
    index.add(some(190), [f"{'x' * 2000}{id}" for id in new[:190]])
    for target in (path, path.with_name("other.lcdh")):
        limit, refused = file_size_limit(int(part * size)), pytest.raises(OutputError)
        with limit, refused as error:
            index.save(target)
        assert f"{target} cannot be written: " in str(error.value)
        assert state(HashIndex.load(path, verify=True)) == before
        assert [*path.parent.iterdir()] == [path]
    index.save(path)
    assert state(HashIndex.load(path, verify=True)) == state(index)


def test_ctrl_c_during_a_save_loses_nothing(saved, monkeypatch):
    index, path, new = saved
    before, real = state(index), index_file.write_blocks

    def interrupted(*args):
        real(*args)
        raise KeyboardInterrupt

    writer = HashIndex.load(path)
    writer.add(some(3), new[:3])
    with monkeypatch.context() as patched:
        patched.setattr(index_file, "write_blocks", interrupted)
        for target in (path, path.with_name("other.lcdh")):
            with pytest.raises(KeyboardInterrupt):
                writer.save(target)
    assert [*path.parent.iterdir()] == [path]
    assert state(HashIndex.load(path)) == before
    writer.save(path)
    assert state(HashIndex.load(path)) == state(writer)


def test_a_crash_in_the_middle_is_undone(saved, tmp_path):
    """A crash leaves the file and its journal: here, a copy of both during a transaction."""
    index, path, _ = saved
    crashed = tmp_path / "crashed.lcdh"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA cache_size = 1")
        database.execute("BEGIN IMMEDIATE")
        database.execute("UPDATE block SET codes = zeroblob(length(codes)), crc32 = 0")
        database.execute("INSERT INTO block VALUES (9, randomblob(200000), '', NULL, 0)")
        for suffix in ("", index_file.JOURNAL):
            shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")
    assert crashed.read_bytes() != path.read_bytes()
    journal = index_file.Path(f"{crashed}{index_file.JOURNAL}").read_bytes()
    assert state(HashIndex.load(crashed, verify=True)) == state(index)
    index_file.Path(f"{crashed}{index_file.JOURNAL}").write_bytes(journal)
    other = HashIndex(64)
    other.save(crashed)  # the journal belongs to another file
    assert state(HashIndex.load(crashed, verify=True)) == state(other)


# damage


def test_every_flipped_byte_is_found_or_does_not_matter(saved):
    index, path, _ = saved
    whole, expected, found = path.read_bytes(), state(index), 0
    for place in [*range(0, 2000, 31), *range(2000, len(whole), 211)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        try:
            assert state(HashIndex.load(path, verify=True)) == expected
        except HashIndexError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
            found += 1
    assert found > 5
    place = whole.index(index.codes[0].tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(HashIndexError, match="block 0 does not match"):
        HashIndex.load(path)
    for length in (0, 99, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(HashIndexError, match=r"is damaged or cut short|is not an index"):
            HashIndex.load(path)


def forge(path, sql, *values):
    """Change a file with correct checksums, as an attacker who knows the format."""
    with closing(sqlite3.connect(path)) as database, database:
        database.create_function("crc", -1, lambda *parts: index_file.crc32(map(plain, parts)))
        database.execute(sql, values)
        database.execute("UPDATE block SET crc32 = crc(codes, ids, stamps)")
        rows = database.execute("SELECT key, value FROM meta WHERE key != 'crc32' ORDER BY key")
        checksum = index_file.crc32([json.dumps(dict(rows.fetchall()))])
        database.execute("UPDATE meta SET value = ? WHERE key = 'crc32'", [checksum])


def plain(part):
    """The value if it has a checksum, else None."""
    return None if isinstance(part, int) else part


META, BLOCK = "UPDATE meta SET value = ? WHERE key = ?", "UPDATE block SET {} = ? WHERE number = 1"


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        (META, [32, "bits"]),
        (META, ["64", "bits"]),
        (META, [2**62, "count"]),
        (META, ["[]", "extra"]),
        (META, ["[" * 100_000, "extra"]),
        ("DELETE FROM meta WHERE key = ?", ["token"]),
        ("INSERT INTO meta VALUES (?, 1)", ["more"]),
        ("DELETE FROM block WHERE number = ?", [1]),
        ("UPDATE block SET number = ? WHERE number = 3", [7]),
        (BLOCK.format("codes"), ["x" * 512]),
        (BLOCK.format("codes"), [None]),
        (BLOCK.format("stamps"), [b"x" * 17]),
        (BLOCK.format("ids"), [5]),
        (BLOCK.format("ids"), ["[1, 2]"]),
        (BLOCK.format("ids"), ["[" * 100_000]),
        (BLOCK.format("ids"), ["[" + "1.5, " * 63 + "1]"]),
        (BLOCK.format("ids"), [b"x" * 8]),
        ("ALTER TABLE block RENAME TO ?".replace("?", "blocks"), []),
        ("DROP TABLE block", []),
    ],
)
def test_forged_files_are_refused(tmp_path, monkeypatch, sql, values):
    monkeypatch.setattr(index_file, "ROWS", 64)
    index, path = HashIndex(64), tmp_path / "it.lcdh"
    index.add(some(200), range(200))
    index.save(path)
    try:
        forge(path, sql, *values)
    except sqlite3.OperationalError as error:
        assert "no such table" in str(error)  # there are no blocks with checksums to forge
    with pytest.raises(HashIndexError, match="is damaged"):
        _ = HashIndex.load(path).ids


def test_other_files_are_refused(saved, tmp_path):
    _, path, _ = saved
    versions = {}
    for version in (3, 5):
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA user_version = {version}")
        versions[version] = path.read_bytes()
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE block(number)")
    other = (tmp_path / "other.db").read_bytes()
    for content, words in {
        versions[3]: "(format 3, this version reads 4); index the photos again: derefl index",
        versions[5]: "(format 5, this version reads 4); update with: pip install --upgrade",
        other: "is not an index of derefl; name a file",
        b"PK\x03\x04" + bytes(1000): "is not an index of derefl",
        b"{}": "is not an index of derefl",
        b"": "is not an index of derefl",
    }.items():
        path.write_bytes(content)
        with pytest.raises(HashIndexError) as error:
            HashIndex.load(path)
        assert words in str(error.value)
        assert str(path) in str(error.value)
        assert path.read_bytes() == content
    with pytest.raises(HashIndexError, match="there is no such file; make it with: derefl index"):
        HashIndex.load(tmp_path / "missing.lcdh")
    with pytest.raises(HashIndexError, match="is not a file"):
        HashIndex.load(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["x" * 300, "x" * 250, "new/x.lcdh/y.lcdh", "nul\0.lcdh"],
    ids=["300", "250", "file", "0"],
)
def test_names_that_cannot_be(tmp_path, name):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "x.lcdh").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        HashIndex(64).save(tmp_path / name)


@pytest.mark.parametrize("name", ["a?b#c%41.lcdh", "日本 é.lcdh", "caf\udce9.lcdh", "x" * 240])
def test_any_name(tmp_path, name):
    index = HashIndex(64)
    for id in range(2):
        index.add(some(1), [id])
        index.save(tmp_path / name)
    assert state(HashIndex.load(tmp_path / name)) == state(index)
    assert len([*tmp_path.iterdir()]) == 1
