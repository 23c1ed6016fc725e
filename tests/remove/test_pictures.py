"""One picture, and folders of pictures."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from derefl import dereflect_folder, load_derefl, open_picture
from derefl.errors import ConfigError, OutputExistsError
from derefl.reflection.remover import ReflectionRemover
from tests.pictures import picture, same_pixels
from tests.remove.tools import error_lines, report, save, written
from tests.test_imaging import bad_files


@pytest.mark.parametrize(
    ("output", "expected"),
    [("new/out.png", "new/out.png"), ("cleaned", "cleaned/in.png"), ("odd.png", "odd.png/in.png")],
)
def test_one_file(remove, checkpoint, capsys, output, expected):
    save("in.png")
    Path("odd.png").mkdir()
    assert remove("in.png", "-o", output) == 0
    assert written() == sorted(["in.png", expected])
    clean = load_derefl(checkpoint).dereflect(picture("RGB"))
    assert same_pixels(open_picture(expected), clean)
    streams = capsys.readouterr()
    assert streams.out == f"written: {expected}\n"
    assert streams.err == ""  # no progress bar for one picture


def test_reflection_and_compare(remove, checkpoint):
    save("in.png")
    assert remove("in.png", "-o", "out.tif", "--reflection", "--compare") == 0
    assert written() == ["in.png", "out.compare.png", "out.reflection.tif", "out.tif"]
    separation = load_derefl(checkpoint).separate(picture("RGB"))
    assert same_pixels(open_picture("out.tif"), separation.transmission)
    assert same_pixels(open_picture("out.reflection.tif"), separation.reflection)
    sheet = np.asarray(open_picture("out.compare.png"))
    for part in (picture("RGB"), *separation):
        windows = np.lib.stride_tricks.sliding_window_view(sheet, (18, 24, 3))
        assert (windows == np.asarray(part)).all(axis=(3, 4, 5)).any()


def test_folder_keeps_its_tree(remove, checkpoint, capsys):
    save("photos/a.png", seed=1)
    save("photos/deep/er/b.JPG", "photos/.hidden.png", "c.png")
    save("photos/deep/c.webp", kind="RGBA")
    for name in ("notes.txt", "README"):
        Path("photos", name).write_text("not a picture")
    assert remove("photos", "c.png", "-o", "cleaned") == 0
    assert written("cleaned") == ["a.png", "c.png", "deep/c.webp", "deep/er/b.JPG"]
    expected = load_derefl(checkpoint).dereflect(picture("RGB", seed=1))
    assert same_pixels(open_picture("cleaned/a.png"), expected)
    streams = capsys.readouterr()
    assert streams.out == (
        "4 of 4 pictures written to cleaned; 2 passed over (1 .txt, 1 without suffix)\n"
    )
    assert streams.err == ""  # a progress bar only on a terminal


def test_progress_bar_on_a_terminal(remove, monkeypatch, capsys):
    save("photos/a.png", "photos/b.png", "photos/c.png")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert remove("photos", "-o", "cleaned") == 0
    last = capsys.readouterr().err.rstrip("\n").split("\r")[-1]
    assert re.search(r"3/3 \|.*\| \d\d:\d\d gone, 00:00 left, +[\d.]+ pictures/s", last)
    assert remove("photos", "-o", "again", "--json") == 0
    assert remove("photos/a.png", "-o", "again.png") == 0
    assert capsys.readouterr().err == ""


def test_failed_files_do_not_stop_the_others(remove, capsys):
    save("photos/a.png", "photos/z/z.png")
    reasons = bad_files(Path("photos"))
    del reasons["missing.jpg"], reasons["folder.jpg"]
    assert remove("photos", "-o", "cleaned", "--compare", "--reflection") == 1
    kinds = ("", ".compare", ".reflection")
    assert written("cleaned") == sorted(f"{n}{kind}.png" for n in ("a", "z/z") for kind in kinds)
    streams = capsys.readouterr()
    assert streams.out == "2 of 6 pictures written to cleaned\n"
    lines = [line for line in streams.err.splitlines() if line.startswith("derefl: ")]
    assert len(lines) == len(reasons) == 4
    for name, reason in reasons.items():
        assert any(name in line and reason in line for line in lines)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory; make the picture smaller"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (OSError(5, "Input/output error"), "[Errno 5] Input/output error"),
        (KeyError("x"), "unexpected KeyError: 'x'"),
    ],
)
def test_an_error_affects_one_picture(remove, monkeypatch, capsys, error, words):
    save("photos/a.png", "photos/c.png")
    save("photos/b.png", kind="RGBA")
    separate = ReflectionRemover.separate

    def fail(self, image, **options):
        if image.mode == "RGBA":
            raise error
        return separate(self, image, **options)

    monkeypatch.setattr(ReflectionRemover, "separate", fail)
    assert remove("photos", "-o", "cleaned") == 1
    assert written("cleaned") == ["a.png", "c.png"]
    (line,) = error_lines(capsys)
    assert line.startswith(f"derefl: photos/b.png: {words}")


def test_a_folder_that_cannot_be_searched_is_reported(remove, monkeypatch, capsys):
    save("photos/a.png", "photos/locked/b.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert remove("photos", "-o", "cleaned") == 1
    streams = capsys.readouterr()
    assert streams.err == "derefl: photos/locked cannot be searched: Permission denied\n"
    assert remove("photos", "-o", "again", "--json") == 1
    assert [(f["input"], f["status"]) for f in report(capsys)["files"]] == [
        ("photos/a.png", "written"),
        ("photos/locked", "failed"),
    ]


def test_linked_folders_are_searched_once_and_loops_end(remove):
    save("photos/a.png", "photos/deep/b.png", "elsewhere/c.png")
    Path("photos/0").symlink_to(Path("photos/deep").resolve())
    Path("photos/away").symlink_to(Path("elsewhere").resolve())
    Path("photos/deep/loop").symlink_to(Path("photos").resolve())
    Path("photos/deep/top").symlink_to(Path().resolve())
    Path("elsewhere/back").symlink_to(Path("photos/deep").resolve())
    Path("photos/self").symlink_to("self")
    assert remove("photos", "-o", "cleaned") == 0
    assert written("cleaned") == ["a.png", "away/c.png", "deep/b.png"]


def test_input_and_output_folders_may_be_nested(remove):
    save("photos/a.png")
    for _ in range(2):
        assert remove("photos", "-o", "photos/cleaned", "--overwrite") == 0
        assert written("photos") == ["a.png", "cleaned/a.png"]
    save("all/sub/a.png")
    assert remove("all/sub", "-o", "all") == 0
    assert written("all") == ["a.png", "sub/a.png"]


def test_dereflect_folder(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("photos/a.png", "photos/b.jpg")
    Path("photos/c.png").write_bytes(b"")
    model = load_derefl(checkpoint)
    with pytest.raises(ConfigError, match="expected"):
        dereflect_folder(model, "photos", "cleaned", strength=2)
    results = dereflect_folder(model, "photos", "cleaned", compare=True, format="png", workers=2)
    assert not Path("cleaned").exists()  # the work starts with the iteration
    a, b, c = results
    assert [r.status for r in (a, b, c)] == ["written", "written", "failed"]
    assert a.source == Path("photos/a.png") and a.seconds > 0 and a.error is None
    assert b.outputs == {"clean": Path("cleaned/b.png"), "compare": Path("cleaned/b.compare.png")}
    assert c.outputs == {} and c.error.startswith("photos/c.png is not a picture")
    with Image.open("cleaned/a.png") as clean:
        assert same_pixels(clean, model.dereflect(picture("RGB")))
    with pytest.raises(OutputExistsError, match=r"a\.png \(and 3 more\) already exists"):
        dereflect_folder(model, "photos", "cleaned", compare=True, format="png")
    Path("cleaned/a.png").unlink()
    again = dereflect_folder(model, [Path("photos")], "cleaned", format="png", resume=True)
    assert [r.status for r in again] == ["written", "skipped", "failed"]
