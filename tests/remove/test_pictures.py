"""One picture, and a folder of them."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from derefl.imaging.files import open_picture
from derefl.reflection.remover import ReflectionRemover, load_derefl
from tests.pictures import picture, same_pixels
from tests.remove.tools import error_lines, save, written
from tests.test_imaging import bad_files

# one picture


def test_one_file_to_one_file(remove, checkpoint, capsys):
    save("in.png")
    assert remove("in.png", "-o", "new/out.png") == 0
    assert written() == ["in.png", "new/out.png"]
    expected = load_derefl(checkpoint).dereflect(picture("RGB"))
    assert same_pixels(open_picture("new/out.png"), expected)
    streams = capsys.readouterr()
    assert streams.out == "written: new/out.png\n"
    assert streams.err == ""  # no progress bar for one picture


def test_one_file_to_a_folder(remove):
    save("in.png")
    assert remove("in.png", "-o", "cleaned") == 0
    assert written() == ["cleaned/in.png", "in.png"]


def test_a_folder_whose_name_ends_like_a_picture(remove):
    save("in.png")
    Path("odd.png").mkdir()
    assert remove("in.png", "-o", "odd.png") == 0
    assert written() == ["in.png", "odd.png/in.png"]


def test_reflection_and_compare(remove, checkpoint):
    save("in.png")
    assert remove("in.png", "-o", "out.tif", "--reflection", "--compare") == 0
    assert written() == ["in.png", "out.compare.png", "out.reflection.tif", "out.tif"]
    separation = load_derefl(checkpoint).separate(picture("RGB"))
    assert same_pixels(open_picture("out.tif"), separation.transmission)
    assert same_pixels(open_picture("out.reflection.tif"), separation.reflection)
    row = np.asarray(open_picture("out.compare.png"))
    for part in (picture("RGB"), *separation):
        assert contains(row, np.asarray(part))


def contains(whole, part):
    h, w, _ = part.shape
    windows = np.lib.stride_tricks.sliding_window_view(whole, (h, w, 3))
    return (windows == part).all(axis=(3, 4, 5)).any()


# folders


def test_folder_keeps_its_tree(remove, checkpoint, capsys):
    save("photos/a.png", seed=1)
    save("photos/deep/er/b.JPG", seed=2)
    save("photos/deep/c.webp", "RGBA", seed=3)
    save("photos/.hidden.png")
    for name in ("notes.txt", "README"):
        Path("photos", name).write_text("not to be touched")
    assert remove("photos", "-o", "cleaned") == 0
    assert written("cleaned") == ["a.png", "deep/c.webp", "deep/er/b.JPG"]
    expected = load_derefl(checkpoint).dereflect(picture("RGB", seed=1))
    assert same_pixels(open_picture("cleaned/a.png"), expected)
    streams = capsys.readouterr()
    assert streams.out == (
        "3 of 3 pictures written to cleaned; 2 passed over (1 .txt, 1 without suffix)\n"
    )
    assert streams.err == ""  # a progress bar only on a terminal


def test_progress_bar_on_a_terminal(remove, monkeypatch, capsys):
    for name in ("a", "b", "c"):
        save(f"photos/{name}.png")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert remove("photos", "-o", "cleaned") == 0
    last = capsys.readouterr().err.rstrip("\n").split("\r")[-1]
    assert re.search(r"3/3 \|.*\| \d\d:\d\d gone, 00:00 left, +[\d.]+ pictures/s", last)
    assert remove("photos", "-o", "again", "--json") == 0
    assert remove("photos/a.png", "-o", "again.png") == 0
    assert capsys.readouterr().err == ""


def test_files_and_folders_together(remove):
    save("a.png")
    save("photos/b.png")
    assert remove("a.png", "photos", "-o", "cleaned") == 0
    assert written("cleaned") == ["a.png", "b.png"]


def test_failed_files_do_not_stop_the_others(remove, capsys):
    save("photos/a.png")
    save("photos/z/z.png")
    reasons = bad_files(Path("photos"))
    del reasons["missing.jpg"], reasons["folder.jpg"]
    assert remove("photos", "-o", "cleaned", "--compare", "--reflection") == 1
    assert written("cleaned") == [
        "a.compare.png",
        "a.png",
        "a.reflection.png",
        "z/z.compare.png",
        "z/z.png",
        "z/z.reflection.png",
    ]
    streams = capsys.readouterr()
    assert streams.out == "2 of 6 pictures written to cleaned\n"
    lines = [line for line in streams.err.splitlines() if line.startswith("derefl: ")]
    assert len(lines) == len(reasons) == 4
    for name, reason in reasons.items():
        assert any(name in line and reason in line for line in lines)


def test_a_picture_for_which_memory_runs_out_is_a_failed_one(remove, monkeypatch, capsys):
    for name, size in (("a", (24, 18)), ("b", (30, 18)), ("c", (24, 18))):
        Path("photos").mkdir(exist_ok=True)
        picture("RGB", size).save(f"photos/{name}.png")
    separate = ReflectionRemover.separate

    def hungry(self, image, **options):
        if image.width == 30:
            torch.empty(2**50)
        return separate(self, image, **options)

    monkeypatch.setattr(ReflectionRemover, "separate", hungry)
    assert remove("photos", "-o", "cleaned") == 1
    assert written("cleaned") == ["a.png", "c.png"]
    (line,) = error_lines(capsys)
    assert line.startswith("derefl: photos/b.png: memory ran out; make the picture smaller")


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error"), KeyError("x")])
def test_whatever_goes_wrong_concerns_one_picture(remove, monkeypatch, capsys, error):
    save("photos/a.png")
    save("photos/b.png", "RGBA")
    separate = ReflectionRemover.separate

    def fail(self, image, **options):
        if image.mode == "RGBA":
            raise error
        return separate(self, image, **options)

    monkeypatch.setattr(ReflectionRemover, "separate", fail)
    assert remove("photos", "-o", "cleaned") == 1
    assert written("cleaned") == ["a.png"]
    (line,) = error_lines(capsys)
    words = {MemoryError: "memory ran out", OSError: "Input/output error", KeyError: "KeyError"}
    assert line.startswith("derefl: photos/b.png: ")
    assert words[type(error)] in line


def test_a_folder_that_cannot_be_searched_is_reported(remove, monkeypatch, capsys):
    save("photos/a.png")
    save("photos/locked/b.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert remove("photos", "-o", "cleaned", "--json") == 1
    streams = capsys.readouterr()
    assert streams.err == "derefl: photos/locked cannot be searched: Permission denied\n"
    files = json.loads(streams.out)["files"]
    assert [(f["input"], f["status"]) for f in files] == [
        ("photos/a.png", "written"),
        ("photos/locked", "failed"),
    ]


def test_linked_folders_are_searched_once_and_loops_end(remove):
    save("photos/a.png")
    save("photos/deep/b.png")
    save("elsewhere/c.png")
    Path("photos/0").symlink_to(Path("photos/deep").resolve())
    Path("photos/away").symlink_to(Path("elsewhere").resolve())
    Path("photos/deep/loop").symlink_to(Path("photos").resolve())
    Path("photos/deep/top").symlink_to(Path().resolve())
    Path("elsewhere/back").symlink_to(Path("photos/deep").resolve())
    Path("photos/self").symlink_to("self")
    assert remove("photos", "-o", "cleaned") == 0
    assert written("cleaned") == ["a.png", "away/c.png", "deep/b.png"]


def test_an_output_folder_inside_the_input_is_not_read_again(remove):
    save("photos/a.png")
    for _ in range(2):
        assert remove("photos", "-o", "photos/cleaned", "--overwrite") == 0
        assert written("photos") == ["a.png", "cleaned/a.png"]


def test_an_input_folder_inside_the_output_is_read(remove):
    save("all/sub/a.png")
    assert remove("all/sub", "-o", "all") == 0
    assert written("all") == ["a.png", "sub/a.png"]
