"""Errors before any work."""

import os
from pathlib import Path

import pytest

from derefl.imaging.files import open_picture
from tests.remove.tools import contents, error_lines, report, save, written
from tests.test_imaging import bad_files


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
    save("photos/a.png", "photos/b.png", "cleaned/b.compare.png")
    Path("cleaned/b.png").write_text("precious")
    before = contents()
    for options, there in (([], "b.png"), (["--compare"], "b.png (and 1 more)")):
        assert remove("photos", "-o", "cleaned", *options) == 1
        assert f"cleaned/{there} already exists; overwrite it" in error_lines(capsys)[0]
        assert contents() == before
    assert remove("photos", "-o", "cleaned", "--overwrite") == 0
    assert open_picture("cleaned/b.png").size == (24, 18)


def test_inputs_are_overwritten_only_with_overwrite(remove, capsys):
    save("photos/a.png")
    before = contents()
    for target in (["photos/a.png", "-o", "photos/a.png"], ["photos", "-o", "photos"]):
        assert remove(*target) == 1
        assert "already exists" in error_lines(capsys)[0]
        assert contents() == before
    assert remove("photos", "-o", "photos", "--overwrite") == 0
    assert written("photos") == ["a.png"] and contents() != before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("one/a.png two/a.png", "the same file: out/a.png;"),
        ("one/a.png one/a.png", "the same file: out/a.png;"),
        ("one/a.png one/a.jpg --compare", "the same file: out/a.compare.png;"),
        ("one/a.png two/A.png", "the same file: out/a.png = out/A.png;"),
        ("one/a.png two/A.png --suffix .x", "out/a.x.png = out/A.x.png;"),
        ("accent", "the same file: out/"),
        ("one --format webp", "the same file: out/a.webp;"),
        ("one/b.png one/link.png", "the same file: out/b.png = out/link.png;"),
    ],
)
def test_two_inputs_for_one_output_are_refused(remove, capsys, args, words):
    save("one/a.png", "one/a.jpg", "one/b.png", "two/a.png", "two/A.png")
    save("accent/é.png", "accent/e\u0301.png")
    Path("one/link.png").symlink_to("b.png")
    Path("out").mkdir()
    Path("out/b.png").symlink_to("link.png")
    before = written()
    assert remove(*args.split(), "-o", "out", "--overwrite") == 1
    assert words in error_lines(capsys)[0]
    assert written() == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("a.png b -o b", "b/a.png, which is an input too"),
        ("b -o b --compare", "the same file: b/x.compare.png"),
        ("b/x.reflection.png -o b/x.png --reflection", "which is an input too"),
        ("a.png links -o b", "which is an input too"),
    ],
)
def test_the_input_of_another_picture_is_never_overwritten(remove, capsys, args, words):
    save("a.png", "b/a.png", "b/x.png", "b/x.compare.png", "b/x.reflection.png")
    Path("links").mkdir()
    Path("links/link.png").symlink_to(Path("b/a.png").resolve())
    before = contents()
    assert remove(*args.split(), "--overwrite") == 1
    assert words in error_lines(capsys)[0]
    assert contents() == before


def test_a_link_in_place_of_an_output_is_replaced_and_not_followed(remove, capsys):
    save("photos/a.png")
    Path("cleaned").mkdir()
    Path("cleaned/a.png").symlink_to("../precious.png")
    assert remove("photos", "-o", "cleaned") == 1
    assert "already exists" in error_lines(capsys)[0]
    assert remove("photos", "-o", "cleaned", "--overwrite") == 0
    assert written() == ["cleaned/a.png", "photos/a.png"]
    assert not Path("cleaned/a.png").is_symlink()


@pytest.mark.parametrize("pattern", ["photos/*/../../../*.png", "photos/**/../../**/a.png"])
def test_a_pattern_cannot_write_outside_the_output_folder(remove, tmp_path, pattern, capsys):
    save("in/photos/sub/a.png", "a.png")
    os.chdir("in")
    before = written(tmp_path)
    assert remove(pattern, "-o", "cleaned") == 1
    assert f"{pattern} has no pictures" in error_lines(capsys)[0]
    assert written(tmp_path) == before


def test_videos_are_refused(remove, capsys):
    save("a.png")
    Path("clip.MP4").write_bytes(b"\0\0\0\x18ftypmp42")
    for inputs in (["clip.MP4"], ["a.png", "clip.MP4"], ["*.MP4"]):
        assert remove(*inputs, "-o", "cleaned") == 1
        (line,) = error_lines(capsys)
        assert line.startswith("derefl: clip.MP4 is a video, expected a photo")
        assert "ffmpeg -i clip.MP4 frames/%05d.png" in line
    assert written() == ["a.png", "clip.MP4"]


def test_files_passed_over_are_counted_by_kind(remove, capsys):
    save("in/ok.jpg", "in/sub/c.jfif")
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


def test_strange_names_are_one_line_of_error(remove, capsys):
    Path("loop.png").symlink_to("loop.png")
    for name in ("a" * 5000 + ".png", "nul\0.png", "loop.png", "", "a.png/b.png"):
        assert remove(name, "-o", "out.png") == 1
        assert len(error_lines(capsys)) == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("photos -o clean.png", "clean.png is the name of one picture, expected a folder"),
        ("photos/a.png b.png -o clean.png", "try clean"),
        ("photos/*.png -o clean.png", "clean.png is the name of one picture"),
        ("photos -o notes.txt", "notes.txt is a file, expected a folder"),
        ("b.png -o out.png --suffix .x", "got the suffix .x and the output file out.png"),
        ("b.png -o out.png --format jpg", "got the format jpg and the output file out.png"),
        ("b.png -o out.png --model derefl-smal", "derefl-smal"),
    ],
)
def test_a_wrong_output_or_model(checkpoint, remove, capsys, args, words):
    save("photos/a.png", "b.png")
    Path("notes.txt").write_text("precious")
    before = contents()
    assert remove(*args.split()) == 1
    assert words in error_lines(capsys)[0]
    assert contents() == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("a.png", "required: -o/--output"),
        ("- --suffix .x", "required: -o/--output"),
        ("a.png -o b --suffix ../x", "--suffix: got '../x', expected a part of a file name"),
        ("a.png -o b --quality 0", "--quality: got '0', expected a whole number from 1 to 100"),
        ("a.png -o b --quality 9 --format png", "--quality: png is lossless"),
        ("a.png -o b --background ret", "--background: got 'ret', expected a colour, such as"),
        ("a.png -o b --workers 0", "--workers: got '0', expected a whole number at least 1"),
        ("a.png -o b --max-megapixels nan", "got 'nan', expected a number above 0"),
        ("a.png -o b --resume --overwrite", "not allowed with"),
        ("a.png -o b --format gif", "invalid choice: 'gif'"),
        ("- a.png -o b.png", "a pipe takes a single photo"),
        ("a.png b.png -o -", "a pipe takes a single photo"),
        ("- -o cleaned", "expected a picture file or -"),
        ("- -o b.png --resume", "--resume: not allowed with -"),
        ("- -o b.png --dry-run", "--dry-run: not allowed with -"),
        ("- -o b.png --keep-times", "--keep-times: not allowed with -"),
        ("a.png -o - --json", "--json: not allowed with -"),
        ("a.png -o - --compare", "--compare: not allowed with -"),
    ],
)
def test_bad_usage(remove, capsys, args, words):
    with pytest.raises(SystemExit) as exit_info:
        remove(*args.split())
    assert exit_info.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert written() == []
