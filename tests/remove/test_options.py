"""Names, formats, patterns, resuming and reports."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from derefl.errors import ConfigError
from derefl.imaging.files import open_picture
from derefl.imaging.folders import find_pictures
from derefl.reflection.remover import ReflectionRemover, load_derefl
from tests.pictures import same_pixels
from tests.remove.tools import contents, error_lines, report, save, written
from tests.test_imaging import bad_files

# names and formats


def test_suffix_writes_next_to_the_input_and_later_runs_ignore_that(remove, capsys):
    save("photos/a.png", "photos/deep/b.c.jpg")
    arguments = ["photos", "--suffix", ".clean", "--compare", "--reflection"]
    assert remove(*arguments) == 0
    assert capsys.readouterr().out == "2 of 2 pictures written next to their inputs\n"
    all_files = [
        "a.clean.compare.png",
        "a.clean.png",
        "a.clean.reflection.png",
        "a.png",
        "deep/b.c.clean.compare.png",
        "deep/b.c.clean.jpg",
        "deep/b.c.clean.reflection.jpg",
        "deep/b.c.jpg",
    ]
    assert written("photos") == all_files
    for inputs in ("photos", "photos/**/*"):
        assert remove(inputs, "--suffix", ".clean", "--overwrite") == 0
        assert written("photos") == all_files
    assert remove(*arguments) == 1
    assert "a.clean.png (and 5 more) already exists" in error_lines(capsys)[0]
    assert remove("photos/a.clean.png", "--suffix", ".clean") == 0  # unless a user names them
    assert "a.clean.clean.png" in written("photos")
    save("more/deep/a.png")
    assert remove("more", "-o", "new", "--suffix=-x") == 0
    assert written("new") == ["deep/a-x.png"]


@pytest.mark.parametrize(
    ("format", "name"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")]
)
def test_format(remove, format, name):
    save("photos/deep/a.png", "photos/b.JPEG")
    assert remove("photos", "-o", "cleaned", "--format", format, "--reflection") == 0
    names = ("b", "b.reflection", "deep/a", "deep/a.reflection")
    assert written("cleaned") == sorted(f"{name}.{format}" for name in names)
    for path in Path("cleaned").rglob("*.*"):
        with Image.open(path) as file:
            assert file.format == name


def test_strength_and_mask(remove, capsys):
    save("a.png")
    with Image.open("a.png") as photo:
        before, size = photo.convert("RGB"), photo.size
    assert remove("a.png", "-o", "clean.png", "--strength", "0") == 0
    with Image.open("clean.png") as clean:
        assert clean.convert("RGB").tobytes() == before.tobytes()
    Image.new("L", size).save("mask.png")
    assert remove("a.png", "-o", "masked.png", "--mask", "mask.png") == 0
    with Image.open("masked.png") as clean:
        assert clean.convert("RGB").tobytes() == before.tobytes()
    capsys.readouterr()
    Image.new("L", (5, 5)).save("small.png")
    assert remove("a.png", "-o", "b.png", "--mask", "small.png") == 1
    assert "got a mask of 5×5 pixels" in error_lines(capsys)[0]
    assert remove("a.png", "-o", "b.png", "--mask", "none.png") == 1
    assert "none.png" in error_lines(capsys)[0] and not Path("b.png").exists()
    with pytest.raises(SystemExit):
        remove("a.png", "-o", "b.png", "--strength", "2")
    assert "got '2', expected a number from 0 to 1" in capsys.readouterr().err


def test_photos_with_little_reflection_are_copied(remove, checkpoint, capsys):
    save("photos/a.png")
    Image.new("RGB", (24, 18)).save("photos/b.jpg")  # nothing can be removed from black
    limit = ["--only-if", str(load_derefl(checkpoint).separate("photos/a.png").amount / 2)]
    assert remove("photos", "-o", "cleaned", "--compare", "--reflection", *limit) == 0
    assert capsys.readouterr().out == "1 of 2 pictures written to cleaned, 1 copied\n"
    assert len(written("cleaned")) == 6
    before, after = contents("photos"), contents("cleaned")
    assert before["b.jpg"] == after["b.jpg"] and before["a.png"] != after["a.png"]
    assert remove("photos", "-o", "png", "--format", "png", "--json", *limit) == 0
    files = report(capsys)["files"]
    assert [file["status"] for file in files] == ["written", "copied"]
    assert same_pixels(open_picture("png/b.png"), open_picture("photos/b.jpg"))
    assert remove("photos/b.jpg", "-o", "one.jpg", *limit) == 0
    assert capsys.readouterr().out == "copied: one.jpg\n"
    Path("photos/b.jpg").rename("photos/b.png")  # the content counts
    assert remove("photos/b.png", "-o", "two.png", *limit) == 0
    assert Image.open("two.png").format == "PNG"


def test_a_format_that_cannot_store_a_picture_fails_before_the_slow_part(
    remove, monkeypatch, capsys
):
    save("photos/b.png", kind="RGBA")
    monkeypatch.setattr(ReflectionRemover, "separate", None)
    assert remove("photos", "-o", "cleaned", "--format", "jpg") == 1
    assert "photos/b.png: cleaned/b.jpg: JPEG cannot hold transp" in error_lines(capsys)[0]
    assert written() == ["photos/b.png"]


def test_background(remove, capsys):
    save("b.png", kind="RGBA")
    assert remove("b.png", "-o", "b.jpg") == 1
    assert "save it as b.png, or put it on a colour: --background white" in error_lines(capsys)[0]
    Image.new("RGBA", (24, 18), (9, 9, 9, 0)).save("b.png")
    assert remove("b.png", "-o", "b.jpg", "--background", "#c86432") == 0
    (low, _), (_, high), _ = Image.open("b.jpg").getextrema()
    assert low > 197 and high < 103


def test_keep_times(remove, capsys):
    save("photos/a.png", "photos/b.png")
    os.utime("photos/a.png", ns=(1, 10**18 + 7))
    options = ["-o", "cleaned", "--suffix", ".x", "--reflection", "--keep-times"]
    assert remove("photos", *options) == 0
    for name in ("cleaned/a.x.png", "cleaned/a.x.reflection.png"):
        assert Path(name).stat().st_mtime_ns == 10**18 + 7
    assert remove("photos", *options, "--resume") == 0
    assert capsys.readouterr().out.endswith("0 of 2 pictures written to cleaned, 2 already there\n")
    assert remove("photos/a.png", "-o", "photos", "--overwrite", "--keep-times") == 0
    assert Path("photos/a.png").stat().st_mtime_ns == 10**18 + 7
    assert Path("cleaned/b.x.png").stat().st_mtime_ns == Path("photos/b.png").stat().st_mtime_ns


def test_quality(remove):
    save("a.png", size=(200, 150))
    sizes = []
    for quality in ([], ["--quality", "95"], ["--quality", "20"]):
        assert remove("a.png", "-o", f"{len(sizes)}.jpg", *quality) == 0
        sizes.append(Path(f"{len(sizes)}.jpg").stat().st_size)
    assert sizes[0] == sizes[1] > 2 * sizes[2]


def test_the_size_limit(remove, capsys):
    save("photos/a.png")
    save("photos/b.png", size=(400, 300))
    assert remove("photos", "-o", "cleaned", "--max-megapixels", "0.1") == 1
    assert written("cleaned") == ["a.png"]
    (line,) = error_lines(capsys)
    assert "photos/b.png" in line and line.endswith(", or set max_megapixels to 1")


# patterns


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("photos/*", ["a.png", "c.jpg", "deep/b.png", "deep/er/d.jpg"]),
        ("photos/**/*.jpg", ["c.jpg", "deep/er/d.jpg"]),
        ("photos/d??p/*.png", ["deep/b.png"]),
        ("photos/[ab].*", ["a.png"]),
        ("photos/*.bmp", ["e.png"]),
    ],
)
def test_patterns_keep_the_tree_below_their_fixed_part(remove, pattern, found):
    for path in ("a.png", "c.jpg", "deep/b.png", "deep/er/d.jpg", ".hidden.png", ".no/e.png"):
        save(f"photos/{path}")
    Path("photos/notes.txt").write_text("not a picture")
    save("photos/e.bmp")
    options = ["--format", "png"] if pattern.endswith("bmp") else []
    assert remove(pattern, "-o", "cleaned", *options) == 0
    assert written("cleaned") == found


def test_a_file_with_the_name_of_a_pattern_has_priority(remove):
    save("a[1].png", "a1.png", "odd [x]/b.png")
    assert remove("a[1].png", "odd [x]/*.png", "-o", "cleaned") == 0
    assert written("cleaned") == ["a[1].png", "b.png"]


@pytest.mark.parametrize("pattern", ["photos/*.tif", "nowhere/*.png", "photos/[z-a].png"])
def test_a_pattern_that_finds_nothing_is_an_error(remove, capsys, pattern):
    save("photos/a.png")
    assert remove(pattern, "-o", "cleaned") == 1
    assert f"{pattern} " in error_lines(capsys)[0]
    assert written() == ["photos/a.png"]


# excluded

TREE = ("a.png", "Old/b.JPG", "old.png", "deep/2019/Raw/c.png", "deep/raw/d.tif")


def test_patterns_to_exclude(tmp_path):
    for path in TREE:
        save(tmp_path / "photos" / path)
    for patterns, left in (
        ("*.png", ["Old/b.JPG", "deep/raw/d.tif"]),
        (["*.jpg", "OLD"], ["a.png", "deep/2019/Raw/c.png", "deep/raw/d.tif", "old.png"]),
        (["2019/raw/"], ["Old/b.JPG", "a.png", "deep/raw/d.tif", "old.png"]),
        (["deep/*/*"], ["Old/b.JPG", "a.png", "old.png"]),
        (["photos/old*", "photos/deep"], ["a.png"]),
        (["photos/de", "aw", "eep/raw"], sorted(TREE)),
    ):
        found = find_pictures([tmp_path / "photos"], exclude=patterns)
        assert [place.as_posix() for _, place in found] == left
    with pytest.raises(ConfigError, match="got an empty pattern to exclude"):
        list(find_pictures([tmp_path], exclude=["a", ""]))


def test_inputs_can_be_excluded(remove, capsys):
    save("photos/a.png", "photos/a.clean.png", "photos/old/b.png")
    inputs = ("photos/a.png", "photos/a.clean.png", "photos/old")  # as from photos/*
    assert remove(*inputs, "-o", "cleaned", "--exclude", "*.clean.*", "--exclude", "old") == 0
    assert written("cleaned") == ["a.png"]
    capsys.readouterr()
    assert remove("photos/old", "-o", "cleaned", "--exclude", "old") == 1
    assert "all inputs are excluded; remove a pattern" in error_lines(capsys)[0]
    assert remove("photos/old", "-o", "cleaned", "--exclude", "*.png") == 1
    assert (
        "photos/old has no pictures left after the exclusions, expected" in error_lines(capsys)[0]
    )


def test_thumbnails_and_trash_are_excluded_unless_named(remove, capsys):
    folders = ["@eaDir/a.jpg", "#recycle", "#snapshot", ".thumbnails", ".Trash-1000", "@Recycle"]
    folders += ["$Recycle.Bin/S-1", "System Volume Information", "lost+found", "My.lrdata"]
    folders += ["A.photoslibrary/resources/derivatives"]
    save(*(f"in/sub/{folder}/thumb.png" for folder in folders))
    Path("in/sub/@eaDir/notes.txt").write_text("not counted")
    save("in/a.png", "in/sub/A.photoslibrary/originals/0/b.png")
    for source in ("in", "in/**/*.png"):
        assert remove(source, "-o", "out", "--overwrite") == 0
        assert capsys.readouterr().out == "2 of 2 pictures written to out\n"
        assert written("out") == ["a.png", "sub/A.photoslibrary/originals/0/b.png"]
    named = [Path("in/sub", folder) for folder in folders]
    assert [path.parent for path, _ in find_pictures(named)] == named


# resuming


def test_resume_writes_missing_and_outdated_outputs(remove, capsys):
    names = [f"photos/{name}.png" for name in "abcd"]
    save(*names)
    Path("photos/e.png").write_bytes(b"")
    assert remove("photos", "-o", "cleaned", "--reflection") == 1
    whole = contents("cleaned")
    Path("cleaned/a.png").unlink()
    Path("cleaned/b.reflection.png").unlink()
    os.utime("photos/c.png", (2e9, 2e9))
    save("photos/e.png")  # failed in the first run
    before = {path.name: path.stat().st_mtime_ns for path in Path("cleaned").iterdir()}
    capsys.readouterr()
    assert remove("photos", "-o", "cleaned", "--reflection", "--resume") == 0
    assert capsys.readouterr().out == "4 of 5 pictures written to cleaned, 1 already there\n"
    assert whole.items() <= contents("cleaned").items()
    after = {path.name: path.stat().st_mtime_ns for path in Path("cleaned").iterdir()}
    changed = {name for name, time in after.items() if before.get(name) != time}
    parts = ("a.png", "b.reflection.png", "c.png", "c.reflection.png")
    assert changed == {*parts, "e.png", "e.reflection.png"}


def test_resume_with_nothing_left_loads_no_model(remove, monkeypatch, capsys):
    save("photos/a.png", "photos/b.png")
    assert remove("photos", "-o", "cleaned") == 0
    monkeypatch.setattr("derefl.reflection.remover.load_derefl", None)
    capsys.readouterr()
    assert remove("photos", "-o", "cleaned", "--resume") == 0
    assert capsys.readouterr().out == "0 of 2 pictures written to cleaned, 2 already there\n"
    assert remove("photos/a.png", "-o", "cleaned", "--resume") == 0
    assert capsys.readouterr().out == "already exists: cleaned/a.png\n"


def test_resume_is_refused_if_outputs_replace_their_inputs(remove, capsys):
    save("photos/a.png")
    assert remove("photos", "-o", "photos", "--resume") == 1
    assert "a.png is its own input" in error_lines(capsys)[0]


# reports


def test_dry_run_lists_the_outputs(remove, monkeypatch, capsys):
    save("photos/a.png", "photos/deep/b.png", "cleaned/a.jpg")
    monkeypatch.setattr("derefl.reflection.remover.load_derefl", None)
    before = written()
    arguments = ["photos", "-o", "cleaned", "--format", "jpg", "--dry-run"]
    assert remove(*arguments, "--resume", "--compare") == 0
    assert capsys.readouterr().out.splitlines() == [
        "photos/a.png -> cleaned/a.compare.png",
        "photos/deep/b.png -> cleaned/deep/b.jpg, cleaned/deep/b.compare.png",
        "2 pictures would be written to cleaned",
    ]
    assert remove(*arguments) == 1
    assert "already exists" in error_lines(capsys)[0]
    assert remove(*arguments, "--json", "--resume") == 0
    result = report(capsys)
    assert [file["status"] for file in result["files"]] == ["skipped", "pending"]
    assert result["totals"]["pending"] == 1
    assert written() == before


def test_json_report(remove, checkpoint, capsys):
    save("photos/a.png", "photos/b.png", "photos/c.jpg", "cleaned/b.png")
    Path("photos/d.png").write_text("not a picture")
    assert remove("photos", "-o", "cleaned", "--resume", "--json", "--workers", "3") == 1
    streams = capsys.readouterr()
    assert len(streams.err.splitlines()) == 1
    result = json.loads(streams.out)
    assert list(result) == ["files", "totals", "passed_over"]
    a, b, c, d = result["files"]
    assert 0 < a.pop("seconds") < result["totals"].pop("seconds") + 1
    assert a == {
        "input": "photos/a.png",
        "outputs": ["cleaned/a.png"],
        "amount": pytest.approx(load_derefl(checkpoint).separate("photos/a.png").amount, abs=6e-5),
        "status": "written",
        "error": None,
        "left_out": [],
    }
    assert (b["status"], b["outputs"], b["seconds"]) == ("skipped", ["cleaned/b.png"], 0)
    assert b["amount"] is None
    assert (c["status"], c["outputs"]) == ("written", ["cleaned/c.jpg"])
    assert (d["status"], d["outputs"]) == ("failed", [])
    assert d["error"] == streams.err.strip().removeprefix("derefl: ")
    assert result["totals"] == {"written": 2, "copied": 0, "skipped": 1, "failed": 1, "pending": 0}


def test_any_number_of_workers_gives_the_same(remove, capsys):
    for number in range(8):
        kind = ("RGB", "RGBA", "L", "LA")[number % 4]
        save(f"photos/{number}.png", kind=kind, seed=number)
    bad_files(Path("photos"))
    results = []
    for workers in ("1", "2", "20"):
        arguments = ["--workers", workers, "--json", "--compare", "--overwrite"]
        assert remove("photos", "-o", "cleaned", *arguments) == 1
        result = report(capsys)
        for entry in (*result["files"], result["totals"]):
            del entry["seconds"]
        results.append((result, contents("cleaned")))
    assert results[0] == results[1] == results[2]
    assert results[0][0]["totals"]["written"] == 8


def test_names_that_are_not_text(remove, capsysbinary):
    name = os.fsdecode(b"bad\xff.png")
    save("a.png")
    Path("a.png").rename(name)
    assert remove(name, "-o", "cleaned") == 0
    assert b"cleaned/bad\xff.png" in capsysbinary.readouterr().out
    assert open_picture(f"cleaned/{name}").size == (24, 18)
