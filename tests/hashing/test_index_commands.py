import ctypes
import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from derefl.cli import main
from derefl.hashing.index import encoding
from derefl.hashing.index.hash_index import HashIndex
from derefl.imaging.compare import BLANK, MARGIN, TILE
from derefl.imaging.files import open_picture
from tests.hashing.fake import COLOURS, FakeHasher
from tests.remove.tools import error_lines
from tests.test_imaging import bad_files


@pytest.fixture
def hashers(tmp_path, monkeypatch):
    """Work in an empty folder with fake models; gives the list of loaded models."""
    monkeypatch.chdir(tmp_path)
    loaded = []

    def load(source="lcdh-student", *, bits=64, device=None):
        loaded.append(FakeHasher(bits, str(source)))
        return loaded[-1]

    monkeypatch.setattr("derefl.hashing.hasher.load_lcdh_student", load)
    return loaded


def paint(path, colour, size=(24, 18)):
    """Save a picture of one colour."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, tuple(int(255 * c) for c in COLOURS[colour])).save(path)


@pytest.fixture
def photos(hashers):
    """A folder of three pictures, and one in a subfolder."""
    for colour in ("red", "green", "blue"):
        paint(f"photos/{colour}.png", colour)
    paint("photos/deep/er/yellow.JPG", "yellow")
    return Path("photos")


ALL = ["photos/blue.png", "photos/deep/er/yellow.JPG", "photos/green.png", "photos/red.png"]


# index


def test_a_folder_becomes_an_index(photos, hashers, capsys):
    paint("photos/.hidden.png", "red")
    paint("photos/.thumbnails/red.png", "red")
    paint("photos/@eaDir/red.png/small.png", "red")
    Path("photos/notes.txt").write_text("not a picture")
    assert main(["index", "photos", "-o", "photos.lcdh"]) == 0
    index = HashIndex.load("photos.lcdh", verify=True)
    assert index.ids == ALL
    assert np.array_equal(index.codes, FakeHasher(64).encode_image(ALL))
    assert (index.bits, index.model, index.sha256) == (64, "lcdh-student", hashers[0].sha256)
    streams = capsys.readouterr()
    line = "4 pictures in the index: 4 encoded, 0 as before, 0 dropped, 0 failed"
    assert streams.out == f"{line}; 1 passed over (1 .txt)\n"
    assert "4/4" in streams.err  # the progress bar
    assert main(["index", "photos", "-o", "b.lcdh", "--exclude", "RED*", "--exclude", "d?ep"]) == 0
    assert HashIndex.load("b.lcdh").ids == ["photos/blue.png", "photos/green.png"]


def test_bits_and_model(photos, tmp_path):
    """A model that is a file is stored with its absolute path."""
    Path("it.safetensors").write_bytes(b"")
    for name, stored in (("org/it", "org/it"), ("it.safetensors", f"{tmp_path}/it.safetensors")):
        options = ["--overwrite", "--bits", "128", "--model", name]
        assert main(["index", "photos", "-o", "a.lcdh", *options]) == 0
        index = HashIndex.load("a.lcdh")
        assert (index.bits, index.model) == (128, stored)
        assert np.array_equal(index.codes, FakeHasher(128).encode_image(ALL))


def test_names_of_pictures(photos, tmp_path, monkeypatch):
    """Relative to the index if the picture is below it, else absolute."""
    paint("other/grey.png", "grey")
    Path("link").symlink_to("photos")
    monkeypatch.chdir("photos")
    inputs = [".", "../other/grey.png", "deep/../red.png", "../link/deep"]
    assert main(["index", *inputs, "-o", "../photos/it.lcdh"]) == 0
    assert HashIndex.load("it.lcdh").ids == [
        "blue.png",
        "deep/er/yellow.JPG",
        "green.png",
        "red.png",
        f"{tmp_path}/other/grey.png",
    ]


def test_bad_files_are_reported_and_the_others_indexed(photos, capsys):
    reasons = bad_files(photos)
    del reasons["missing.jpg"], reasons["folder.jpg"]
    reasons = {name: reason for name, reason in reasons.items() if (photos / name).exists()}
    assert main(["index", "photos", "-o", "photos.lcdh"]) == 1
    assert HashIndex.load("photos.lcdh").ids == ALL
    lines = error_lines(capsys)
    assert len(lines) == len(reasons) >= 3
    for name in reasons:
        assert sum(f"photos/{name}" in line for line in lines) == 1


def test_an_index_that_is_there_is_kept(photos, hashers, capsys):
    Path("photos.lcdh").write_text("precious")
    assert main(["index", "photos", "-o", "photos.lcdh"]) == 1
    (line,) = error_lines(capsys)
    assert "add --update to bring it up to date, --overwrite" in line
    assert Path("photos.lcdh").read_text() == "precious"
    assert main(["index", "photos", "-o", "photos.lcdh", "--update"]) == 1
    assert "photos.lcdh is not an index of derefl" in error_lines(capsys)[0]
    assert Path("photos.lcdh").read_text() == "precious"
    assert hashers == []
    assert main(["index", "photos", "-o", "photos.lcdh", "--overwrite"]) == 0
    assert HashIndex.load("photos.lcdh").ids == ALL


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["missing", "-o", "it.lcdh"], "missing: there is no such file or folder"),
        (["empty", "-o", "it.lcdh"], "empty has no pictures"),
        (["photos", "-o", "empty"], "empty cannot be written: it is a folder, expected a file"),
    ],
)
def test_errors_before_any_work(photos, hashers, capsys, args, words):
    Path("empty").mkdir()
    assert main(["index", *args]) == 1
    assert words in error_lines(capsys)[0]
    assert hashers == []
    assert not Path("it.lcdh").exists()


# update


def update(*inputs, options=()):
    return main(["index", *(inputs or ["photos"]), "-o", "photos.lcdh", "--update", *options])


def test_update_encodes_what_is_new_or_changed_and_drops_what_is_gone(photos, hashers, capsys):
    assert update() == 0  # creates the index
    assert update() == 0
    assert [hasher.calls for hasher in hashers] == [4, 0]

    paint("photos/new.png", "white")
    paint("photos/red.png", "black", (48, 36))  # another file size
    os.utime("photos/green.png", ns=(0, 123456789))  # another time
    Path("photos/deep/er/yellow.JPG").unlink()
    capsys.readouterr()
    assert update() == 0
    assert hashers[-1].calls == 3
    assert capsys.readouterr().out == (
        "4 pictures in the index: 3 encoded, 1 as before, 1 dropped, 0 failed\n"
    )
    index = HashIndex.load("photos.lcdh", verify=True)
    assert index.ids == ["photos/blue.png", "photos/green.png", "photos/red.png", "photos/new.png"]
    assert np.array_equal(index.codes, FakeHasher(64).encode_image(index.ids))
    assert update() == 0
    assert hashers[-1].calls == 0


def test_update_keeps_what_lies_elsewhere(photos, hashers):
    paint("other/grey.png", "grey")
    assert update("photos", "other") == 0
    Path("other/grey.png").unlink()
    Path("photos/red.png").unlink()
    assert update("photos/deep", "photos/blue.png") == 0
    assert HashIndex.load("photos.lcdh").ids == [*ALL, "other/grey.png"]
    assert update("photos") == 0
    assert HashIndex.load("photos.lcdh").ids == [*ALL[:3], "other/grey.png"]
    assert [hasher.calls for hasher in hashers] == [5, 0, 0]


def test_a_picture_that_went_bad_keeps_its_code_and_is_tried_again(photos, hashers, capsys):
    assert update() == 0
    good = Path("photos/red.png").read_bytes()
    Path("photos/red.png").write_bytes(good[:40])
    for _ in range(2):
        assert update() == 1
        assert "photos/red.png" in error_lines(capsys)[0]
        assert HashIndex.load("photos.lcdh").ids == ALL
    Path("photos/red.png").write_bytes(good)
    assert update() == 0
    assert (HashIndex.load("photos.lcdh").ids, hashers[-1].calls) == (ALL, 1)


def test_update_goes_on_with_bits_and_model_of_the_index(photos, hashers, capsys):
    assert update(options=["--bits", "32", "--model", "org/one"]) == 0
    assert update(options=["--model", "org/one"]) == 0
    assert (hashers[-1].bits, hashers[-1].name) == (32, "org/one")
    before = Path("photos.lcdh").read_bytes()
    for options, words in {
        ("--bits", "64"): "photos.lcdh has codes of 32 bits, got --bits 64",
        ("--model", "org/two"): "the model 'org/one'",
        (): "does not come with derefl; if you trust it, add: --model org/one",
    }.items():
        assert update(options=options) == 1
        assert words in error_lines(capsys)[0]
        assert Path("photos.lcdh").read_bytes() == before


@pytest.fixture
def rights_count():
    """Drop this thread's capabilities that let root ignore file permissions."""
    if os.geteuid() != 0:
        yield
        return
    libc, header = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0)
    capabilities = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, capabilities) == 0
    before = capabilities[0]
    capabilities[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, capabilities) == 0
    yield
    capabilities[0] = before
    assert libc.capset(header, capabilities) == 0


def test_update_keeps_what_it_cannot_see(hashers, rights_count, capsys):
    for name in (
        "seen/a",
        "seen/old/b",
        "listed/c",
        "closed/sub/d",
        "closed/g",
        "unreadable/e",
        "gone/f",
    ):
        paint(f"photos/{name}.png", "red")
    Path("photos/link.png").symlink_to(Path("elsewhere.png").absolute())
    paint("elsewhere.png", "red")
    assert update() == 0
    ids = HashIndex.load("photos.lcdh").ids
    assert len(ids) == 8
    for name in ("photos/seen/old/b.png", "photos/gone/f.png", "elsewhere.png"):
        Path(name).unlink()
    Path("photos/gone").rmdir()
    os.utime("photos/unreadable/e.png", ns=(0, 1))
    Path("photos/unreadable/e.png").chmod(0o000)
    left = [id for id in ids if "old" not in id and "gone" not in id]
    for mode in (0o000, 0o100, 0o400):  # none; only traverse; only list names
        Path("photos/closed").chmod(mode)
        capsys.readouterr()
        assert update() == 1
        assert HashIndex.load("photos.lcdh").ids == left
        lines = error_lines(capsys)
        assert len(lines) == (4 if mode == 0o400 else 3)  # also for the folder in "closed"
        for text in (
            "photos/closed cannot be searched: Permission denied",
            "photos/unreadable/e.png",
            "photos cannot be searched: No such file",
        ):
            assert sum(text in line for line in lines) == 1, lines
    Path("photos/closed").chmod(0o700)
    Path("photos/unreadable/e.png").chmod(0o600)
    for name in ("link.png", "closed/sub/d.png", "closed/g.png"):
        Path("photos", name).unlink()
    assert update() == 0
    assert [Path(id).stem for id in HashIndex.load("photos.lcdh").ids] == ["c", "a", "e"]


# long runs


@pytest.mark.parametrize("options", [[], ["--overwrite"], ["--update"]])
def test_ctrl_c_loses_one_batch_and_the_same_command_goes_on(
    photos, hashers, capsys, monkeypatch, options
):
    monkeypatch.setattr(encoding, "BATCH", 1)
    Path("photos.lcdh").write_bytes(b"precious")
    command = ["index", "photos", "-o", "photos.lcdh", *options]
    if options == ["--update"]:
        Path("photos.lcdh").unlink()
        assert main(["index", "photos/red.png", "-o", "photos.lcdh"]) == 0
        os.utime("photos/red.png", ns=(0, 1))
    elif not options:
        Path("photos.lcdh").unlink()
    real = FakeHasher.encode_image
    for number in range(3):

        def encode(self, images, number=number):
            if self.calls == 1:
                raise KeyboardInterrupt
            return real(self, images)

        monkeypatch.setattr(FakeHasher, "encode_image", encode)
        capsys.readouterr()
        assert main(command) == 130
        lines = error_lines(capsys)
        assert len(lines) == 1
        assert "derefl: interrupted; " in lines[0] and "run the same command again" in lines[0]
        target = "photos.lcdh.part" if options == ["--overwrite"] else "photos.lcdh"
        done = HashIndex.load(target, verify=True)
        assert len(done) == number + 1 or options == ["--update"]
        if options == ["--overwrite"]:
            assert Path("photos.lcdh").read_bytes() == b"precious"
        else:
            assert main(["search", target, "red"]) == 0
            assert "is not finished" in error_lines(capsys)[0]
    assert main(command) == 0
    assert hashers[-1].calls == 1
    assert sorted(map(str, Path().iterdir())) == ["photos", "photos.lcdh"]
    index = HashIndex.load("photos.lcdh", verify=True)
    assert (sorted(index.ids), index.extra) == (ALL, {})
    assert np.array_equal(index.codes, FakeHasher(64).encode_image(index.ids))
    assert main(["search", "photos.lcdh", "red"]) == 0
    assert error_lines(capsys) == []


def test_a_part_of_another_model_is_not_gone_on_with(photos, hashers):
    assert main(["index", "photos", "-o", "photos.lcdh"]) == 0
    part = HashIndex(32, "lcdh-student", FakeHasher(32, "lcdh-student").sha256)
    part.extra = {"unfinished": True}
    for name in ("photos.lcdh", "photos.lcdh.part"):
        part.save(name)
        assert main(["index", "photos", "-o", "photos.lcdh", "--overwrite"]) == 0
        assert HashIndex.load("photos.lcdh").bits == 64


def test_add_pictures_goes_on_where_it_stopped(photos, monkeypatch):
    monkeypatch.setattr(encoding, "BATCH", 1)
    index, seen = HashIndex(64), []
    index.hasher = FakeHasher(64)

    def stop(done, total):
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add_pictures("photos", save_to="it.lcdh", progress=stop)
    assert seen == [(0, 4), (1, 4), (2, 4)]
    Path("photos/red.png").write_bytes(b"no picture")
    index = HashIndex.load("it.lcdh")
    index.hasher = FakeHasher(64)
    encoded, as_before, failures = index.add_pictures(ALL, save_to="it.lcdh")
    assert (encoded, as_before, index.hasher.calls) == (1, 2, 1)
    assert "photos/red.png is not a picture" in str(failures[0])
    assert state(HashIndex.load("it.lcdh")) == state(index)
    assert index.ids == ALL[:3]
    assert index.add_pictures("photos", exclude="*.png", save_to="again.lcdh") == (0, 1, [])
    assert state(HashIndex.load("again.lcdh")) == state(index)
    assert np.array_equal(index.codes, FakeHasher(64).encode_image(index.ids))


def state(index):
    return index.ids, index.codes.tolist(), index.stamps.tolist()


@pytest.mark.parametrize("name", ["closed/it.lcdh", "photos/red.png/it.lcdh"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    hashers, rights_count, capsys, name
):
    paint("photos/red.png", "red")
    Path("closed").mkdir(mode=0o500)
    assert main(["index", "photos", "-o", name]) == 1
    (line,) = error_lines(capsys)
    assert f"{name} cannot be written" in line
    assert sum(hasher.calls for hasher in hashers) == 0


def test_a_damaged_index_is_not_updated(photos, hashers, capsys):
    assert update() == 0
    whole = bytearray(Path("photos.lcdh").read_bytes())
    whole[-1] ^= 1
    Path("photos.lcdh").write_bytes(whole)
    assert update() == 1
    assert "photos.lcdh is damaged" in error_lines(capsys)[0]
    assert len(hashers) == 1


# search


@pytest.fixture
def indexed(photos, capsys):
    assert main(["index", "photos", "-o", "photos.lcdh"]) == 0
    capsys.readouterr()
    return Path("photos.lcdh")


def as_json(capsys):
    """The printed output, which must be one JSON object and nothing else."""
    streams = capsys.readouterr()
    assert streams.err == ""
    assert streams.out.count("\n") == 1
    return json.loads(streams.out)


def expected_hits(code, paths=ALL):
    """The hits by definition."""
    codes = FakeHasher(64).encode_image(paths)
    distances = np.unpackbits(codes ^ code, axis=1).sum(axis=1).tolist()
    return sorted(zip(distances, range(len(paths)), paths, strict=True))


def test_search_by_words(indexed, capsys):
    assert main(["search", "photos.lcdh", "something red", "-k", "3"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["rank", "distance", "photo"]
    hits = expected_hits(FakeHasher(64).encode_text("red"))[:3]
    assert [line.split() for line in lines] == [
        [str(rank), str(distance), path] for rank, (distance, _, path) in enumerate(hits, 1)
    ]
    assert lines[0].split()[1:] == ["0", "photos/red.png"]


def test_search_by_picture_as_json(indexed, capsys):
    paint("query.png", "yellow")
    assert main(["search", "photos.lcdh", "--image", "query.png", "--json"]) == 0
    hits = expected_hits(FakeHasher(64).encode_image(["query.png"]))
    assert as_json(capsys) == {
        "query": {"image": "query.png"},
        "model": "lcdh-student",
        "bits": 64,
        "hits": [
            {"rank": rank, "distance": distance, "id": path, "path": path, "index": "photos.lcdh"}
            for rank, (distance, _, path) in enumerate(hits, 1)
        ],
    }
    assert hits[0][2] == "photos/deep/er/yellow.JPG"


def test_paths_can_be_opened_from_anywhere(indexed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir("photos/deep")
    assert main(["search", "../../photos.lcdh", "red", "--json"]) == 0
    paths = [hit["path"] for hit in as_json(capsys)["hits"]]
    assert set(paths) == {"er/yellow.JPG", *(str(tmp_path / p) for p in ALL if "deep" not in p)}
    assert all(Path(path).exists() for path in paths)


def test_photos_and_index_can_be_moved_together(indexed, tmp_path, capsys):
    Path("moved").mkdir()
    for name in ("photos", "photos.lcdh"):
        Path(name).rename(Path("moved") / name)
    assert main(["search", "moved/photos.lcdh", "red", "-k", "1", "--json"]) == 0
    assert as_json(capsys)["hits"][0]["path"] == "moved/photos/red.png"


@pytest.mark.parametrize("words", ["", "🙂", "red " * 10_000, "caf\udce9"])
def test_any_words(indexed, capsys, words):
    assert main(["search", "photos.lcdh", words, "--json"]) == 0
    report = as_json(capsys)
    assert report["query"] == {"text": words.replace("\udce9", "\ufffd")}
    assert len(report["hits"]) == 4


def test_several_indexes_are_one(indexed, capsys, monkeypatch):
    for colour in ("red", "black"):
        paint(f"other/{colour}.png", colour)
    assert main(["index", "other", "-o", "other/more.lcdh"]) == 0
    capsys.readouterr()
    search = ["search", "photos.lcdh", "other/more.lcdh"]
    assert main([*search, "red", "-k", "5", "--json"]) == 0
    paths = [*ALL, "other/black.png", "other/red.png"]
    hits = as_json(capsys)["hits"]
    assert [(hit["distance"], hit["path"]) for hit in hits] == [
        (distance, path)
        for distance, _, path in expected_hits(FakeHasher(64).encode_text("red"), paths)[:5]
    ]
    assert [(hit["index"], hit["id"]) for hit in hits[:2]] == [
        ("photos.lcdh", "photos/red.png"),
        ("other/more.lcdh", "red.png"),
    ]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    for folder, found in (("other", paths[4:]), ("photos/deep", paths[1:2]), (".", paths)):
        for option, end in (("--paths", "\n"), ("-0", "\0")):
            assert main([*search, "red", "--below", folder, option]) == 0
            printed = capsys.readouterr().out
            assert sorted(printed.split(end)) == sorted(["", *found])
    assert main([*search, "red", "--below", "photos/dee"]) == 1
    assert "photos/dee has no photos of the index" in error_lines(capsys)[0]
    HashIndex(64, "lcdh-student", "0" * 64).save("foreign.lcdh")
    assert main([*search, "foreign.lcdh", "red"]) == 1
    assert "foreign.lcdh has codes of 64 bits of the model" in error_lines(capsys)[0]
    for args in (["photos.lcdh"], ["photos.lcdh", "other/more.lcdh"]):
        with pytest.raises(SystemExit):
            main(["search", *args])
        assert "required: WORDS or --image" in capsys.readouterr().err


def test_escape_codes_in_names_do_not_reach_a_terminal(photos, capsys, monkeypatch):
    name = "photos/\x1b[31m\x9b\u202e\tg\npj.png"
    paint(name, "white")
    Path("photos/\x1b]0;.jpg").write_text("no picture")
    shown = "photos/\\x1b[31m\\x9b\\u202e\\tg\\npj.png"
    for terminal, expected in ((False, name), (True, shown)):
        for stream in (sys.stdout, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda terminal=terminal: terminal)
        assert main(["index", "photos", "-o", "photos.lcdh", "--overwrite"]) == 1
        assert ("\x1b" in error_lines(capsys)[-1]) == (not terminal)
        assert main(["search", "photos.lcdh", "white", "-k", "1"]) == 0
        head, row = capsys.readouterr().out.split("\n", 1)
        assert (head, row[16:]) == ("rank  distance  photo", f"{expected}\n")


def test_words_in_another_language_get_a_warning(indexed, capsys):
    assert main(["search", "photos.lcdh", "zwei Kinder spielen im Garten", "--json"]) == 0
    (line,) = error_lines(capsys)
    assert "does not know the words 'zwei', 'Kinder', 'spielen', 'Garten'; describe" in line


@pytest.mark.parametrize("options", [[], ["--within", "1"]])
def test_duplicates_command(photos, capsys, options):
    for name in ("red", "red2", "zebra"):
        paint(f"photos/more/{name}.png", "white" if name == "zebra" else "red")
    assert main(["index", "photos", "-o", "photos.lcdh"]) == 0
    capsys.readouterr()
    assert main(["duplicates", "photos.lcdh", *options]) == 0
    reds = ["photos/more/red.png", "photos/more/red2.png", "photos/red.png"]
    lines = [f"{0:8}  {path}" for path in reds]
    expected = ["distance  photo", *lines, "", "groups: 1; photos in groups: 3 of 7"]
    assert capsys.readouterr().out.splitlines() == expected
    assert main(["duplicates", "photos.lcdh", *options, "--json"]) == 0
    photos = [{"distance": 0, "id": path, "path": path} for path in reds]
    assert as_json(capsys) == {"within": 1 if options else 2, "bits": 64, "groups": [photos]}


def test_names_that_are_no_utf8(photos, capfdbinary):
    name = os.fsdecode(b"photos/caf\xe9.png")
    paint(name, "white")
    assert main(["index", "photos", "-o", "photos.lcdh"]) == 0
    assert main(["search", "photos.lcdh", "white", "-k", "1"]) == 0
    assert b" photos/caf\xe9.png\n" in capfdbinary.readouterr().out


@pytest.mark.parametrize(
    "name", ["org/repo", "derefl-nothing", "/mnt/x.safetensors", "\\\\host\\share", "a b/c"]
)
def test_a_file_does_not_decide_what_is_loaded(photos, hashers, capsys, name):
    index = HashIndex(64, name, FakeHasher(64, name).sha256)
    index.save("it.lcdh")
    hashers.clear()
    for command in (["search", "it.lcdh", "red"], ["index", "photos", "-o", "it.lcdh", "--update"]):
        assert main(command) == 1
        (line,) = error_lines(capsys)
        assert repr(name) in line
        assert f"add: --model {shlex.quote(name)}" in line
        assert hashers == []
        assert main([*command, "--model", name]) == 0
        hashers.clear()
        capsys.readouterr()


def test_contact_sheet(indexed, capsys):
    Path("photos/green.png").unlink()
    words = ["search", "photos.lcdh", "green", "--contact-sheet"]
    assert main([*words, "new/sheet.png"]) == 0
    assert capsys.readouterr().out.endswith("contact sheet: new/sheet.png\n")
    sheet = np.asarray(open_picture("new/sheet.png"))
    assert sheet.shape[1] > 4 * TILE  # four in a row
    colours = {
        colour: np.argwhere((sheet == [int(255 * c) for c in COLOURS[colour]]).all(axis=2))
        for colour in ("red", "blue")
    }
    for pixels in colours.values():  # complete, and once
        assert len(pixels) == 24 * 18
    blank = np.argwhere((sheet == BLANK).all(axis=2))
    blank = blank[blank[:, 0] >= sheet.shape[0] - TILE - MARGIN]  # letters have grey edges
    assert len(blank) == TILE * TILE
    assert blank[:, 1].max() < min(pixels[:, 1].min() for pixels in colours.values())  # first hit
    assert main([*words, "new/sheet.png"]) == 1
    assert (
        "new/sheet.png already exists; choose another name, or replace it: --overwrite"
        in error_lines(capsys)[0]
    )
    assert main([*words, "new/sheet.png", "--overwrite", "--json"]) == 0
    as_json(capsys)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            ["missing.lcdh", "red"],
            "missing.lcdh: there is no such file; make it with: derefl index",
        ),
        (["photos/red.png", "red"], "photos/red.png is not an index of derefl"),
        (["photos.lcdh", "red", "wall"], "red: there is no such index; put all WORDS in one pair"),
        (["photos.lcdh", "red", "--contact-sheet", "a.txt"], "a.txt has the suffix .txt"),
    ],
)
def test_search_errors_before_any_work(indexed, hashers, capsys, args, words):
    hashers.clear()
    assert main(["search", *args]) == 1
    assert words in error_lines(capsys)[0]
    assert hashers == []
