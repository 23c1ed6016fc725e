"""``examples/encode_with_ray.py`` with a real Ray of two workers."""

import contextlib
import runpy
import sys
import uuid
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from pyarrow import parquet

from derefl import HashIndex, load_lcdh_student
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "encode_with_ray.py"
PICTURES = sorted((REPOSITORY / "examples" / "pictures").glob("[ls]*/*.jpg"))


def marked(mark: str) -> list[psutil.Process]:
    """The running processes with the mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("DEREFL_TEST_MARK") == mark:
                found.append(process)
    return found


@pytest.fixture
def photos(tmp_path) -> Path:
    """Sixty small photos, cut from the examples, and four files that are not pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        with Image.open(PICTURES[number % len(PICTURES)]) as picture:
            x, y = rng.integers(0, 100, 2)
            picture.crop((x, y, x + 160, y + 120)).save(folder / f"{number:03}.jpg")
    (folder / "005-words.jpg").write_text("no picture")
    (folder / "050-cut.jpg").write_bytes((folder / "050.jpg").read_bytes()[:900])
    (folder / "055-empty.png").touch()
    (folder / "999-gone.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.fixture
def run(monkeypatch):
    """Run the example in this process, and return its exit status."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["encode_with_ray", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(EXAMPLE), run_name="__main__")
        return stop.value.code

    return run


def test_codes_are_those_of_the_hasher(run, photos, tmp_path, monkeypatch, capsys):
    output, mark = tmp_path / "codes.parquet", uuid.uuid4().hex
    monkeypatch.setenv("DEREFL_TEST_MARK", mark)
    # Ray's workers have low priority (nice), and would wait on a busy machine.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    assert run(photos, "-o", output, "--workers", "2", "--bits", "32") == 1
    assert psutil.wait_procs(marked(mark), timeout=300)[1] == []  # no process of Ray is left
    streams = capsys.readouterr()
    assert "64 pictures, 4 failed, " in streams.out
    assert "pictures/s with 2 workers" in streams.out

    rows = parquet.read_table(output).to_pylist()
    assert [row["id"] for row in rows] == sorted(map(str, photos.iterdir()))
    hasher = load_lcdh_student(bits=32)
    assert {row["sha256"] for row in rows} == {hasher.sha256}
    good = [row for row in rows if row["error"] is None]
    codes = np.array([list(row["code"]) for row in good], np.uint8)
    assert np.array_equal(codes, hasher.encode_image([row["id"] for row in good]))
    assert len(np.unique(codes, axis=0)) > 25
    bad = {Path(row["id"]).name: row for row in rows if row["error"] is not None}
    assert list(bad) == ["005-words.jpg", "050-cut.jpg", "055-empty.png", "999-gone.jpg"]
    assert all(row["code"] is None for row in bad.values())
    lines = [line for line in streams.err.splitlines() if line.startswith("derefl: ")]
    assert lines == [f"derefl: {' '.join(row['error'].split())}" for row in bad.values()]
    assert all(name in line for name, line in zip(bad, lines, strict=True))

    index = HashIndex(bits=32)  # read as in docs/scale_out.md
    for part in parquet.ParquetFile(output).iter_batches(20):
        part = part.filter(part["error"].is_null())
        read = np.frombuffer(b"".join(part["code"].to_pylist()), np.uint8).reshape(-1, 4)
        index.add(read, part["id"].to_pylist())
    assert index.ids == [row["id"] for row in good]
    assert np.array_equal(index.codes, codes)


def test_nothing_is_overwritten_unless_asked(run, tmp_path):
    there = tmp_path / "codes.parquet"
    there.touch()
    message = run(PICTURES[0], "-o", there)
    assert message.startswith(f"derefl: {there} already exists; ")
    assert "--overwrite" in message and "\n" not in message
    assert sorted(tmp_path.iterdir()) == [there]


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match=r'pip install "derefl\[ray\]"'):
        runpy.run_path(str(EXAMPLE))
