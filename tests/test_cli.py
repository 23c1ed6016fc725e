import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from derefl import __version__
from derefl.cli import COMMANDS, main
from derefl.commands import models
from derefl.imaging.files import open_picture
from derefl.reflection.pipeline import ReflectionRemover, load_derefl
from derefl.zoo import save_checkpoint
from derefl.zoo.manifest import ModelEntry
from tests.conftest import TINY
from tests.pictures import MAKE, exif_block, icc_profile, picture, same_pixels
from tests.test_imaging import bad_files


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(ReflectionRemover(TINY), path, kind="derefl", config=asdict(TINY))
    return path


@pytest.fixture
def remove(checkpoint, tmp_path, monkeypatch):
    """Run ``derefl remove`` with the tiny model, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: main(["remove", *args, "--model", str(checkpoint)])


def written(folder="."):
    """Every file under a folder, hidden ones too, as sorted relative names."""
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def save(path, kind="RGB", seed=0):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture(kind, seed=seed).save(path)


def error_lines(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("derefl: ")]


# one picture


def test_one_file_to_one_file(remove, checkpoint, capsys):
    save("in.png")
    assert remove("in.png", "-o", "new/out.png") == 0
    assert written() == ["in.png", "new/out.png"]
    expected = load_derefl(checkpoint).dereflect(picture("RGB"))
    assert same_pixels(open_picture("new/out.png"), expected)
    streams = capsys.readouterr()
    assert streams.out == "written: new/out.png\n"
    assert streams.err == ""  # no progress bar for one


def test_one_file_to_a_folder(remove):
    save("in.png")
    assert remove("in.png", "-o", "cleaned") == 0
    assert written() == ["cleaned/in.png", "in.png"]


def test_a_folder_whose_name_ends_like_a_picture(remove):
    save("in.png")
    Path("odd.png").mkdir()
    assert remove("in.png", "-o", "odd.png") == 0
    assert written() == ["in.png", "odd.png/in.png"]


def test_metadata_is_kept_in_the_file(remove):
    picture("RGB").save("in.jpg", exif=exif_block(6), icc_profile=icc_profile())
    assert remove("in.jpg", "-o", "out.jpg") == 0
    with Image.open("out.jpg") as file:
        assert file.size == (18, 24)
        assert file.getexif()[MAKE] == "Testcam"
        assert file.getexif()[0x0112] == 1
        assert file.info["icc_profile"] == icc_profile()


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
    Path("photos/notes.txt").write_text("not to be touched")
    assert remove("photos", "-o", "cleaned") == 0
    assert written("cleaned") == ["a.png", "deep/c.webp", "deep/er/b.JPG"]
    expected = load_derefl(checkpoint).dereflect(picture("RGB", seed=1))
    assert same_pixels(open_picture("cleaned/a.png"), expected)
    streams = capsys.readouterr()
    assert streams.out == "3 of 3 pictures written to cleaned\n"
    assert "3/3" in streams.err  # the progress bar


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


def test_an_output_folder_inside_the_input_is_not_read_again(remove):
    save("photos/a.png")
    for _ in range(2):
        assert remove("photos", "-o", "photos/cleaned", "--overwrite") == 0
        assert written("photos") == ["a.png", "cleaned/a.png"]


def test_an_input_folder_inside_the_output_is_read(remove):
    save("all/sub/a.png")
    assert remove("all/sub", "-o", "all") == 0
    assert written("all") == ["a.png", "sub/a.png"]


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

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ReflectionRemover, "separate", interrupt)
    assert remove("in.png", "-o", "out.png") == 130
    assert error_lines(capsys) == ["derefl: interrupted"]
    assert written() == ["in.png"]


# the rest of the command line


@pytest.mark.parametrize("args", [[], ["remove"], ["remove", "a.jpg"], ["fly"], ["--fly"]])
def test_bad_usage_exits_2(args, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    assert exit_info.value.code == 2
    assert "usage: derefl" in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--help"], ["remove", "--help"], ["models", "--help"]])
def test_help(args, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    assert exit_info.value.code == 0
    assert f"usage: {' '.join(['derefl', *args[:-1]])}" in capsys.readouterr().out


def test_every_command_is_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"    {command.__name__.rpartition('.')[2]} " in text


def test_python_m_derefl():
    out = subprocess.run(
        [sys.executable, "-m", "derefl", "--version"], capture_output=True, text=True
    )
    assert (out.returncode, out.stdout, out.stderr) == (0, f"derefl {__version__}\n", "")


def test_help_does_not_import_torch():
    code = (
        "import sys\nfrom derefl.cli import main\n"
        "try:\n    main(['remove', '--help'])\n"
        "except SystemExit:\n    sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def entry(**changes):
    fields = {
        "name": "derefl-small",
        "kind": "derefl",
        "config": {},
        "file": "derefl-small.safetensors",
        "bytes": 16_345_678,
        "sha256": "0" * 64,
        "dtype": "float16",
        "parameters": 8_123_456,
        "where": {"bundled": "weights/derefl-small.safetensors", "hub": None},
        "licence": "Apache-2.0",
        "training": {},
        "scores": [
            {
                "dataset": "real20",
                "protocol": "resize32",
                "n": 20,
                "command": "derefl evaluate",
                "psnr": 23.456,
                "ssim": 0.8049,
                "input_psnr": 19.232,
            }
        ],
    }
    return ModelEntry.from_json(json.loads(json.dumps(fields | changes)))


def test_models_table(monkeypatch, capsys):
    entries = [
        entry(),
        entry(name="b", where={"bundled": None, "hub": None}, scores=[]),
        entry(name="c", where={"bundled": None, "hub": {"repo": "org/c", "revision": "0" * 40}}),
    ]
    monkeypatch.setattr("derefl.zoo.list_models", lambda: entries)
    assert main(["models"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == list(models.HEADER)
    rows = [line for line in lines if not line.startswith(" ")]
    assert rows[0].split("  ")[0] == "derefl-small"
    for words in ("derefl", "8.1 M", "16.3 MB", "bundled", "Apache-2.0"):
        assert words in rows[0]
    assert "real20, 20 pictures, resize32: 23.46 dB, SSIM 0.805" in lines[1]
    assert "unpublished" in rows[1]
    assert lines[lines.index(rows[1]) + 1].strip() == "not measured"
    assert "org/c" in rows[2]
    columns = [header.index(word) for word in models.HEADER]
    assert all(row[column - 1] == " " != row[column] for row in rows for column in columns[1:])


def test_models_lists_the_manifest(capsys):
    assert main(["models"]) == 0
    assert capsys.readouterr().out.startswith("name")
