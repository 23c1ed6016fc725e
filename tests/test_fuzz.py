"""Files with edited bytes: a valid object or a one-line error, without a crash or high memory use.

The normal test run tries a few fixed cases per test. For more and other cases:

    DEREFL_FUZZ=5000 pytest tests/test_fuzz.py

docs/limits.md reports the number of cases and the results.
"""

import json
import resource
import sqlite3
import struct
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from derefl import HashIndex, load_derefl, load_lcdh_student
from derefl.errors import (
    CheckpointError,
    DataError,
    DereflError,
    HashIndexError,
    ManifestError,
    ModelNotFoundError,
)
from derefl.hashing.index import database as index_file
from derefl.hashing.learning.captions import read_captions
from derefl.hashing.learning.corpus import read_tags
from derefl.hashing.learning.labelled import read_labelled
from derefl.hashing.teacher_pipeline import load_teacher_network
from derefl.reflection.model import DeRefl
from derefl.zoo import (
    checkpoint_header,
    file_sha256,
    find_model,
    list_models,
    load_checkpoint,
    manifest,
    read_header,
    save_checkpoint,
)
from derefl.zoo.locate import locate_folder
from tests.conftest import CASES
from tests.edits import EDITS, edited
from tests.hashing.tiny import tiny_hasher, tiny_teacher
from tests.tiny import TINY
from tests.zoo.net import KIND, build, make_net, same, save_net
from tests.zoo.net import entry as manifest_entry


def fuzz(cases: int) -> settings:
    """The number of cases: the default, or DEREFL_FUZZ."""
    return settings(max_examples=CASES or cases)


@pytest.fixture(autouse=True)
def little_memory():
    """Fail if the peak memory of the process rose by more than half a gibibyte."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    risen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert risen < 512 * 1024, f"{risen} KiB more"


def outcome(function, *expected: type[DereflError]) -> Any:
    """The result, or None for one of these errors, whose message must be short."""
    try:
        return function()
    except expected as error:
        assert 20 < len(str(error)) < 2000, str(error)[:3000]
        return None


numbers = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**15, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64, 2**70, -(2**40)]),
    st.floats(),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=12)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
"""Any JSON value."""

DEEP = "[" * 100_000 + "]" * 100_000


@st.composite
def changed(draw, value: Any):
    """The same JSON with one value removed or replaced."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 5)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        result = value.copy()
        if isinstance(value, dict) and not draw(st.integers(0, 7)):
            del result[key]
        else:
            result[key] = draw(changed(value[key]))
        return result
    return draw(values)


# index files


def make_index(path: Path, ids, appended: int = 0) -> bytes:
    """The bytes of an index, with some codes appended later."""
    codes = np.random.default_rng(0).integers(0, 256, (len(ids), 8), np.uint8)
    index = HashIndex(64, "net", "ab" * 32)
    first = len(ids) - appended
    index.add(codes[:first], ids[:first])
    index.extra = {"files": {str(id): [1, 2] for id in ids}}
    index.save(path)
    for row in range(first, len(ids)):
        index.add(codes[row], [ids[row]])
        index.save(path)
    return path.read_bytes()


def use(path: Path, verify: bool) -> tuple:
    """Use an index file in all ways, and return the results."""
    index = HashIndex.load(path, verify=verify)
    query = np.zeros(8, np.uint8) if index.bits == 64 else index.codes[:1]
    hits = index.search(query, k=3)
    copy = HashIndex.load(path)
    copy.remove(copy.ids[:1])
    there = path.with_name("there.lcdh")
    there.write_bytes(path.read_bytes())
    copy.save(there)
    there.write_bytes(path.read_bytes())
    grown = HashIndex.load(there)
    grown.add(query, [10**6 if grown.integer_ids is not None else "new"])
    grown.save(there)
    return index.codes.tolist(), index.ids, index.extra, hits, len(copy), index.model, index.sha256


NUMBERS, PATHS = list(range(5, 25)), [f"photos/{i} é.jpg" for i in range(12)] + [7]
INDEXES = {
    "numbers": lambda path: make_index(path, NUMBERS),
    "paths": lambda path: make_index(path, PATHS),
    "appended": lambda path: make_index(path, NUMBERS, appended=2),
    "appended paths": lambda path: make_index(path, PATHS, appended=1),
}


@pytest.fixture(params=INDEXES)
def index_content(request, tmp_path):
    path = tmp_path / "photos.lcdh"
    return path, INDEXES[request.param](path)


@given(data=st.data())
@fuzz(40)
def test_an_edited_index_is_refused_or_the_same(index_content, data):
    path, content = index_content
    path.write_bytes(content)
    before = use(path, verify=True)
    path.write_bytes(edited(content, data.draw(EDITS)))
    after = outcome(lambda: use(path, verify=True), HashIndexError)
    assert after in (None, before)
    outcome(lambda: use(path, verify=False), HashIndexError)


SQL_VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary() | st.floats()


@given(data=st.data())
@fuzz(40)
def test_a_forged_index_gives_an_index_or_one_line(index_content, data):
    """Any values in any column, with correct checksums."""
    path, content = index_content
    path.write_bytes(content)
    json_text = st.recursive(SQL_VALUES, st.lists).filter(is_json).map(json.dumps)
    with closing(sqlite3.connect(path)) as database:
        if data.draw(st.booleans()):
            column = data.draw(st.sampled_from(["codes", "ids", "stamps", "number"]))
            value = data.draw(json_text if column == "ids" else SQL_VALUES)
            with suppress(sqlite3.IntegrityError), database:
                database.execute(f"UPDATE block SET {column} = ? WHERE number = 0", [value])
        else:
            key = data.draw(st.sampled_from(sorted(index_file.META)))
            value = data.draw(SQL_VALUES)
            with database:
                database.execute("UPDATE meta SET value = ? WHERE key = ?", [value, key])
        seal(database)
    outcome(lambda: use(path, verify=True), HashIndexError)


def is_json(value):
    with suppress(TypeError, ValueError):
        return bool(json.dumps(value))


def seal(database):
    """Correct the checksums of an index."""
    rows = database.execute("SELECT codes, ids, stamps, number FROM block").fetchall()
    about = dict(database.execute("SELECT * FROM meta WHERE key != 'crc32' ORDER BY key"))
    with suppress(TypeError, ValueError), database:
        for *parts, number in rows:
            checksum = index_file.crc32(parts)
            database.execute("UPDATE block SET crc32 = ? WHERE number = ?", [checksum, number])
        checksum = index_file.crc32([json.dumps(about)])
        database.execute("UPDATE meta SET value = ? WHERE key = 'crc32'", [checksum])


# checkpoints


def load(path, **options):
    return load_checkpoint(path, kind=KIND, build=build, **options)


@given(data=st.data())
@fuzz(40)
def test_an_edited_checkpoint_is_refused_or_of_the_same_layout(tmp_path, data):
    """Without a known sha256, numbers may differ, but the module is complete."""
    path = save_net(tmp_path / "net.safetensors", make_net())
    content, sha256 = path.read_bytes(), file_sha256(path)
    path.write_bytes(edited(content, data.draw(EDITS)))
    net = outcome(lambda: load(path), CheckpointError)
    if net is not None:
        assert {k: v.shape for k, v in net.state_dict().items()} == {
            k: v.shape for k, v in build({**read_header(path)["config"]}).state_dict().items()
        }
    if path.read_bytes() != content:
        assert outcome(lambda: load(path, sha256=sha256), CheckpointError) is None


@given(data=st.data())
@fuzz(40)
def test_a_forged_header_of_a_checkpoint_gives_a_module_or_one_line(tmp_path, data):
    """Dtypes, shapes, overlapping offsets and metadata with any JSON."""
    path = save_net(tmp_path / "net.safetensors", make_net())
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = data.draw(changed(json.loads(content[8:][:length])))
    text = json.dumps(header).encode()
    length = data.draw(st.sampled_from([len(text)] * 6 + [0, len(text) - 1, 2**32, 2**63]))
    path.write_bytes(struct.pack("<Q", length) + text + content[8 + length :])
    outcome(lambda: load(path), CheckpointError)


KINDS = {
    "derefl": (load_derefl, lambda: DeRefl(TINY), TINY),
    "lcdh-student": (load_lcdh_student, tiny_hasher, tiny_hasher().config),
    "lcdh-teacher": (load_teacher_network, tiny_teacher, tiny_teacher().config),
}


@pytest.fixture(scope="module", params=KINDS)
def with_config(request, tmp_path_factory):
    """The kind, its config, and a function that loads its checkpoint with another config."""
    load, make, config = KINDS[request.param]
    path = tmp_path_factory.mktemp("kinds") / "model.safetensors"
    save_checkpoint(make(), path, kind=request.param, config=asdict(config))
    tensors = load_file(path)

    def load_with(forged: Any) -> Any:
        header = checkpoint_header(request.param, forged)
        save_file(tensors, path, {"derefl": json.dumps(header)})
        return load(path)

    return request.param, json.loads(json.dumps(asdict(config))), load_with


@given(data=st.data())
@fuzz(8)
def test_a_forged_config_of_any_kind_gives_a_model_or_one_line(with_config, data):
    _, config, load_with = with_config
    forged = data.draw(changed(config))
    outcome(lambda: load_with(forged), CheckpointError)


HOSTILE = {
    "derefl": [
        {"dims": [4096] * 5},
        {"dims": [2**40] * 5},
        {"depths": [10**9] * 5},
        {"windows": [0, 0, 10**5, 8, 8]},
        {"backbone": "hf-hub:org/name"},
        {"backbone": "local-dir:/etc"},
        {"backbone": "resnet18.hf-hub:org/name"},
        {"reorganise": "__import__('os')"},
    ],
    "lcdh-student": [
        {"feature_dim": 4096},
        {"vocabulary": 2**40},
        {"text_depth": 10**9},
        {"image_size": 10**6},
        {"backbone": "hf-hub:org/name"},
    ],
    "lcdh-teacher": [
        {"image_dim": 65_536, "dim": 8192},
        {"dim": 2**40},
        {"heads": 0},
        {"bits": True},
    ],
}


def test_configs_that_would_take_gigabytes_hours_or_the_network(with_config):
    kind, config, load_with = with_config
    for change in HOSTILE[kind]:
        with pytest.raises(CheckpointError):
            load_with(config | change)


# config.json


@given(data=st.data())
@fuzz(40)
def test_a_forged_config_json_gives_a_module_or_one_line(tmp_path, data):
    path = save_net(tmp_path / "model.safetensors", make_net())
    header = read_header(path)
    text = json.dumps(data.draw(changed(header))).encode()
    (tmp_path / "config.json").write_bytes(edited(text, data.draw(EDITS | st.just([]))))
    found = locate_folder(tmp_path)
    net = outcome(lambda: load(path, config_file=found.config_file), CheckpointError)
    assert net is None or same(net, make_net())


@pytest.mark.parametrize(
    "text", [DEEP, '{"format_version":1,"kind":"derefl","config":{"a":' + DEEP + "}}"]
)
def test_a_config_json_that_is_nested_too_deep_or_too_long(tmp_path, text):
    path = save_net(tmp_path / "model.safetensors", make_net())
    config = tmp_path / "config.json"
    config.write_text(text)
    with pytest.raises(CheckpointError, match="is not a derefl header"):
        load(path, config_file=config)
    config.write_text(" " * (1 << 20) + json.dumps(read_header(path)))
    with pytest.raises(CheckpointError, match="more than 1,048,576 bytes"):
        load(path, config_file=config)


# the manifest


@pytest.fixture
def listing(tmp_path, monkeypatch):
    """The path of a manifest, and its content: one bundled model."""
    monkeypatch.setattr(manifest, "package_folder", lambda: tmp_path)
    weights = save_net(tmp_path / "weights" / "net.safetensors", make_net())
    hub = {"repo": "org/net", "revision": "a" * 40}
    where = {"bundled": "weights/net.safetensors", "hub": hub}
    score = {"dataset": "a", "protocol": "b", "n": 1, "command": "c", "psnr": 2.5}
    listed = manifest_entry(weights, "net", where=where, scores=[score])
    return tmp_path / "weights_manifest.json", {"format_version": 1, "models": [listed]}


def look_up() -> None:
    """Read all of a manifest; its paths must not leave the package."""
    for listed in list_models():
        bundled = manifest.bundled_file(listed)
        if bundled is not None:
            assert bundled.resolve().parent == manifest.package_folder().resolve() / "weights"
        assert Path(listed.file).name == listed.file
    find_model("net", KIND)


@given(data=st.data())
@fuzz(40)
def test_a_forged_manifest_gives_its_models_or_one_line(listing, data):
    path, content = listing
    text = json.dumps(data.draw(changed(content))).encode()
    path.write_bytes(edited(text, data.draw(EDITS | st.just([]))))
    outcome(look_up, ManifestError, ModelNotFoundError)


# tables


TABLES = {
    "captions": (read_captions, b'image,caption\na.jpg,a dog\nb,"a cat, asleep"\na.jpg,dog\n'),
    "tags": (read_tags, b"image,tags\na.jpg,dog beach\nb,cat\n"),
    "labels": (read_labelled, b"image,text,labels\na.jpg,a dog,animal;dog\nb,cat,animal\n"),
}


@pytest.mark.parametrize("name", TABLES)
@given(data=st.data())
@fuzz(40)
def test_an_edited_table_is_read_or_refused_in_one_line(tmp_path, name, data):
    read, content = TABLES[name]
    for picture in ("a.jpg", "b.png"):
        (tmp_path / picture).write_bytes(b"")
    content = edited(content, data.draw(EDITS))
    table, split = tmp_path / "table.csv", tmp_path / "split.txt"
    table.write_bytes(content)
    outcome(lambda: read(tmp_path, table), DataError)
    if name != "tags":
        split.write_bytes(edited(b"a\nb\n", data.draw(EDITS)))
        outcome(lambda: read(tmp_path, table, split), DataError)


@pytest.mark.parametrize(
    "row", ["../../etc/passwd,x", "/etc/passwd,x", "\0,x", "..jpg,x", '"' + "x" * 200_000 + '",x']
)
def test_names_in_a_table_that_are_no_pictures_of_the_folder(tmp_path, row):
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "table.csv").write_text(f"image,caption\n{row}\n")
    with pytest.raises(DataError):
        read_captions(tmp_path, tmp_path / "table.csv")
