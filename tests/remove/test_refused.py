"""Errors before any work."""

import os
from pathlib import Path

import pytest

from derefl.cli import main
from derefl.imaging.files import open_picture
from derefl.reflection.remover import ReflectionRemover
from tests.remove.tools import error_lines, report, save, usage_error, written
from tests.test_imaging import bad_files

# errors before any work


def test_bad_files_by_name(remove, tmp_path, capsys):
    for name, reason in bad_files(tmp_path).items():
        if name == "folder.jpg":
            reason = "has no pictures"
        assert remove(name, "-o", "out.png") == 1
        (line,) = error_lines(capsys)
        assert name in line
        assert reason in line or name == "missing.jpg"
    assert not Path("out.png").exists()


def test_a_missing_input_stops_everything(remove, capsys):
    save("a.png")
    assert remove("a.png", "missing.png", "-o", "cleaned") == 1
    assert written() == ["a.png"]
    assert "missing.png" in error_lines(capsys)[0]


def test_existing_outputs_are_refused_before_any_work(remove, capsys):
    save("photos/a.png")
    save("photos/b.png")
    Path("cleaned").mkdir()
    Path("cleaned/b.png").write_text("precious")
    assert remove("photos", "-o", "cleaned") == 1
    (line,) = error_lines(capsys)
    assert "b.png is there already" in line
    assert "--overwrite" in line
    assert written("cleaned") == ["b.png"]
    assert Path("cleaned/b.png").read_text() == "precious"
    assert remove("photos", "-o", "cleaned", "--overwrite") == 0
    assert open_picture("cleaned/b.png").size == (24, 18)


def test_existing_side_outputs_are_refused_too(remove, capsys):
    save("a.png")
    save("out.compare.png")
    assert remove("a.png", "-o", "out.png", "--compare") == 1
    assert "out.compare.png is there already" in error_lines(capsys)[0]
    assert written() == ["a.png", "out.compare.png"]


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (["one/a.png", "two/a.png"], []),
        (["one", "two"], []),
        (["one/a.png", "one/a.png"], []),
        (["one/a.png", "one/a.jpg"], ["--compare"]),
    ],
)
def test_two_inputs_for_one_output_are_refused(remove, capsys, inputs, options):
    for path in ("one/a.png", "one/a.jpg", "two/a.png"):
        save(path)
    assert remove(*inputs, "-o", "cleaned", "--overwrite", *options) == 1
    (line,) = error_lines(capsys)
    assert "would both be written to cleaned/a." in line
    assert not Path("cleaned").exists()


def test_inputs_are_overwritten_only_when_asked_for(remove, capsys):
    save("photos/a.png")
    before = Path("photos/a.png").read_bytes()
    for target in (["photos/a.png", "-o", "photos/a.png"], ["photos", "-o", "photos"]):
        assert remove(*target) == 1
        assert "is there already" in error_lines(capsys)[0]
        assert Path("photos/a.png").read_bytes() == before
    assert remove("photos", "-o", "photos", "--overwrite") == 0
    assert written("photos") == ["a.png"]
    assert Path("photos/a.png").read_bytes() != before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["a.png", "b", "-o", "b"], "b/a.png, which is an input too"),
        (["b", "-o", "b", "--compare"], "both be written to b/x.compare.png"),
        (["b/x.reflection.png", "-o", "b/x.png", "--reflection"], "which is an input too"),
        (["a.png", "links", "-o", "b"], "which is an input too"),
    ],
)
def test_another_pictures_input_is_never_overwritten(remove, capsys, args, words):
    for path in ("a.png", "b/a.png", "b/x.png", "b/x.compare.png", "b/x.reflection.png"):
        save(path)
    Path("links").mkdir()
    Path("links/link.png").symlink_to(Path("b/a.png").resolve())
    before = {name: Path(name).read_bytes() for name in written()}
    assert remove(*args, "--overwrite") == 1
    assert words in error_lines(capsys)[0]
    assert {name: Path(name).read_bytes() for name in written()} == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["one", "two", "-o", "cleaned"], "cleaned/a.png and cleaned/A.png, which many disks"),
        (["one", "two", "--suffix", ".x", "-o", "cleaned"], "cleaned/a.x.png and cleaned/A.x.png"),
        (["accent", "-o", "cleaned"], "which many disks take for one file"),
        (["three", "-o", "cleaned", "--format", "jpg"], "both be written to cleaned/b.jpg"),
        (["three", "--suffix", ".x", "--format", "jpg"], "both be written to three/b.x.jpg"),
        (["three/b.png", "three/link.png", "-o", "out"], "both be written to out/link.png"),
    ],
)
def test_names_that_become_one_are_refused(remove, capsys, args, words):
    for path in ("one/a.png", "two/A.png", "accent/é.png", "accent/e\u0301.png"):
        save(path)
    save("three/b.png")
    save("three/b.webp")
    Path("three/link.png").symlink_to("b.png")
    Path("out").mkdir()
    Path("out/b.png").symlink_to("link.png")
    before = written()
    assert remove(*args, "--overwrite") == 1
    assert words in error_lines(capsys)[0]
    assert written() == before


def test_links_out_of_the_output_folder_are_refused(remove, capsys):
    save("photos/sub/deep/a.png")
    save("photos/b.png")
    Path("cleaned").mkdir()
    Path("cleaned/sub").symlink_to(Path("elsewhere").resolve())
    before = written()
    assert remove("photos", "-o", "cleaned") == 1
    (line,) = error_lines(capsys)
    assert "cleaned/sub/deep/a.png lies outside cleaned" in line
    assert str(Path("elsewhere").resolve()) in line
    assert written() == before
    Path("cleaned/sub").unlink()
    Path("cleaned/real").mkdir()
    Path("cleaned/sub").symlink_to("real")  # the link stays inside the folder
    assert remove("photos", "-o", "cleaned") == 0
    assert "cleaned/real/deep/a.png" in written()


def test_a_link_in_place_of_an_output_is_replaced_and_not_followed(remove, capsys):
    save("photos/a.png")
    Path("cleaned").mkdir()
    Path("cleaned/a.png").symlink_to("../precious.png")
    assert remove("photos", "-o", "cleaned") == 1
    assert "is there already" in error_lines(capsys)[0]
    assert remove("photos", "-o", "cleaned", "--overwrite") == 0
    assert written() == ["cleaned/a.png", "photos/a.png"]
    assert not Path("cleaned/a.png").is_symlink()


@pytest.mark.parametrize("pattern", ["photos/*/../../../*.png", "photos/**/../../**/a.png"])
def test_a_pattern_does_not_climb_out_of_the_output_folder(remove, tmp_path, pattern, capsys):
    save("in/photos/sub/a.png")
    save("a.png")
    os.chdir("in")
    before = written(tmp_path)
    assert remove(pattern, "-o", "cleaned") == 1
    assert f"{pattern} has no pictures" in error_lines(capsys)[0]
    assert written(tmp_path) == before


def test_videos_are_out_of_scope(remove, capsys):
    save("a.png")
    Path("clip.MP4").write_bytes(b"\0\0\0\x18ftypmp42")
    for inputs in (["clip.MP4"], ["a.png", "clip.MP4"], ["*.MP4"]):
        assert remove(*inputs, "-o", "cleaned") == 1
        (line,) = error_lines(capsys)
        assert line.startswith("derefl: clip.MP4 is a video, and derefl takes reflections out of")
        assert "ffmpeg -i clip.MP4 frames/%05d.png" in line
    assert remove("clip.MP4", "-o", "out.png") == 1
    assert "is a video" in error_lines(capsys)[0]
    assert written() == ["a.png", "clip.MP4"]


def test_files_passed_over_are_counted_by_kind(remove, capsys):
    save("in/ok.jpg")
    save("in/sub/c.jfif")
    others = ("a.NEF", "sub/b.dng", "clip.MP4", "notes.txt", "Makefile", ".hidden", "out/old.gif")
    for name in others:
        Path("in", name).parent.mkdir(exist_ok=True)
        Path("in", name).write_bytes(b"?")
    note = "5 passed over (2 raw, 1 .txt, 1 video, 1 without suffix)"
    for command, told in (
        (["in", "-o", "in/out"], f"2 of 2 pictures written to in/out; {note}\n"),
        (["in/*.*", "-o", "b"], "written: b/ok.jpg; 3 passed over (1 .txt, 1 raw, 1 video)\n"),
        (["in/*.jpg", "-o", "c"], "written: c/ok.jpg\n"),
    ):
        assert remove(*command) == 0
        assert capsys.readouterr().out == told
    assert remove("in", "-o", "in/out", "--resume", "--dry-run", "--json") == 0
    kinds = {"raw": 2, "without suffix": 1, "video": 1, ".txt": 1}
    assert report(capsys)["passed_over"] == kinds
    Path("raw").mkdir()
    Path("raw/a.CR2").touch()
    assert remove("raw", "-o", "d") == 1
    assert error_lines(capsys)[0].endswith("name another folder; 1 passed over (1 raw)")


def test_strange_names_are_one_line_of_error(remove, capsys):
    Path("loop.png").symlink_to("loop.png")
    for name in ("a" * 5000 + ".png", "nul\0.png", "loop.png", "", "a.png/b.png"):
        assert remove(name, "-o", "out.png") == 1
        assert len(error_lines(capsys)) == 1


def test_a_file_name_as_output_of_several(remove, capsys):
    save("photos/a.png")
    save("b.png")
    for inputs in (["photos"], ["photos/a.png", "b.png"], ["photos/*.png"]):
        assert remove(*inputs, "-o", "clean.png") == 1
        (line,) = error_lines(capsys)
        assert "clean.png is the name of one picture, expected a folder" in line
        assert line.endswith("write -o clean")
    assert written() == ["b.png", "photos/a.png"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--suffix", ".x"], "got --suffix .x and the file out.png, expected a folder"),
        (["--format", "jpg"], "leave --format out, or write -o out.jpg"),
    ],
)
def test_options_that_contradict_the_output_file(remove, capsys, args, words):
    save("a.png")
    assert remove("a.png", "-o", "out.png", *args) == 1
    assert words in error_lines(capsys)[0]
    assert written() == ["a.png"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("a.png", "required: -o/--output"),
        ("- --suffix .x", "required: -o/--output"),
        ("a.png -o b --suffix ../x", "--suffix: got '../x', expected a part of a file name"),
        ("a.png -o b --quality 0", "--quality: got '0', expected a whole number from 1 to 100"),
        ("a.png -o b --quality 101", "expected a whole number from 1 to 100"),
        ("a.png -o b --quality 9 --format png", "--quality: png has none"),
        ("a.png -o b --workers 0", "--workers: got '0', expected a whole number at least 1"),
        ("a.png -o b --max-megapixels nan", "got 'nan', expected a number above 0"),
        ("a.png -o b --max-megapixels -1", "got '-1', expected a number above 0"),
        ("a.png -o b --resume --overwrite", "not allowed with"),
        ("a.png -o b --format gif", "invalid choice: 'gif'"),
        ("- a.png -o b.png", "one photo only goes through a pipe"),
        ("a.png b.png -o -", "one photo only goes through a pipe"),
        ("- -o cleaned", "name a picture file, or -"),
        ("- -o b.png --resume", "--resume: not with -"),
        ("- -o b.png --dry-run", "--dry-run: not with -"),
        ("a.png -o - --json", "--json: not with -"),
        ("a.png -o - --compare", "--compare: not with -"),
        ("a.png -o - --reflection", "--reflection: not with -"),
        ("a.png -o - --suffix .x", "--suffix: not with -"),
    ],
)
def test_bad_usage(remove, capsys, args, words):
    assert words in usage_error(remove, *args.split(), capsys=capsys)


def test_formats_are_checked_before_the_slow_part(remove, monkeypatch, capsys):
    save("in.png", "RGBA")
    monkeypatch.setattr(ReflectionRemover, "separate", None)
    assert remove("in.png", "-o", "out.jpg") == 1
    assert "save it as out.png" in error_lines(capsys)[0]
    assert written() == ["in.png"]


def test_output_that_is_a_file_where_a_folder_is_needed(remove, capsys):
    save("photos/a.png")
    Path("notes.txt").write_text("precious")
    assert remove("photos", "-o", "notes.txt") == 1
    assert "notes.txt is a file, expected a folder" in error_lines(capsys)[0]
    assert Path("notes.txt").read_text() == "precious"


def test_unknown_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save("in.png")
    assert main(["remove", "in.png", "-o", "out.png", "--model", "derefl-smal"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("derefl: ")
    assert "derefl-smal" in line


def test_ctrl_c(remove, monkeypatch, capsys):
    save("in.png")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ReflectionRemover, "separate", interrupt)
    assert remove("in.png", "-o", "out.png") == 130
    assert error_lines(capsys) == ["derefl: interrupted"]
    assert written() == ["in.png"]
