"""Files are complete or do not exist; errors of outputs come before the work."""

import os
import stat
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from derefl import HashIndex, save_picture
from derefl.cli import main
from derefl.errors import OutputError, OutputExistsError
from derefl.files import atomic_file, check_output, write_file
from derefl.hashing.index.faiss import export_faiss
from derefl.hashing.learning.protocol import Round, plot_rounds
from derefl.imaging.compare import side_by_side
from derefl.training.state import Progress, save_state
from derefl.zoo import save_checkpoint
from tests.pictures import deep_picture, picture
from tests.remove.tools import written

resource = pytest.importorskip("resource", reason="Windows has no limits of this kind")


@contextmanager
def files_up_to(size):
    """Let the system write only the first bytes of a file, as on a nearly full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_index(path):
    index = HashIndex(bits=64)
    index.add(np.random.default_rng(0).integers(0, 256, (900, 8), np.uint8), range(900))
    index.save(path)


def save_faiss(path):
    index = HashIndex(bits=64)
    index.add(np.random.default_rng(0).integers(0, 256, (900, 8), np.uint8), range(900))
    export_faiss(index, path)


def save_net(path):
    save_checkpoint(torch.nn.Linear(64, 64), path, kind="derefl", config={})


def save_run(path):
    net = torch.nn.Linear(64, 64)
    save_state(path, net, net, torch.optim.AdamW(net.parameters()), Progress(3))


def save_plot(path):
    scores = {"text_to_image": 0.5, "image_to_text": 0.5}
    plot_rounds([Round(1, 10, 2, scores, scores, 1.0, None, {})], path)


SIZE = (160, 120)
WRITERS = {
    **{
        f"photo.{suffix}": lambda path: save_picture(picture("RGB", SIZE), path, overwrite=True)
        for suffix in ("jpg", "png", "tif", "webp", "avif", "heic")
    },
    "deep.png": lambda path: save_picture(deep_picture("RGB;16", SIZE), path, overwrite=True),
    "deep.tif": lambda path: save_picture(deep_picture("RGB;16", SIZE), path, overwrite=True),
    "sheet.png": lambda path: save_picture(
        side_by_side({"a": picture("RGB", SIZE)}), path, overwrite=True
    ),
    "bytes.onnx": lambda path: write_file(path, bytes(100_000)),
    "photos.lcdh": save_index,
    "codes.faiss": save_faiss,
    "model.safetensors": save_net,
    "state.safetensors": save_run,
    "plot.png": save_plot,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    size, names = path.stat().st_size, written(tmp_path)
    path.write_bytes(b"precious")
    for limit in {0, 1, size // 2, max(0, size - 4097), size - 1}:
        with files_up_to(limit), pytest.raises(OutputError, match=f"{name}.* cannot be written: "):
            WRITERS[name](path)
        assert path.read_bytes() == b"precious"
        assert written(tmp_path) == names
    with files_up_to(size):
        WRITERS[name](path)
    assert path.stat().st_size == size


def test_an_error_or_ctrl_c_in_between_changes_nothing(tmp_path):
    write_file(tmp_path / "a", b"precious")
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), atomic_file(tmp_path / "a") as file:
            file.write(b"half")
            raise error
    assert written(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"precious"


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "a", []

    def fsync(handle):
        seen.append((os.fstat(handle).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_file(path, b"12345")
    assert seen == [(5, False)]


def test_permissions(tmp_path, monkeypatch):
    def mode(name):
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    before = os.umask(0o027)
    monkeypatch.setattr(os, "umask", None)  # umask is shared by all threads of the process
    try:
        write_file(tmp_path / "new", b"")
        assert mode("new") == 0o640
        for kept in (0o600, 0o666, 0o444):
            (tmp_path / "old").touch()
            (tmp_path / "old").chmod(kept)
            with atomic_file(tmp_path / "old"):
                (temporary,) = tmp_path.glob(".derefl-*")
                assert mode(temporary.name) & ~kept == 0  # never readable for more users
            assert mode("old") == kept
            (tmp_path / "old").unlink()
        (tmp_path / "link").symlink_to("new")
        write_file(tmp_path / "link", b"")
        assert not (tmp_path / "link").is_symlink()
        assert mode("link") == 0o640
    finally:
        monkeypatch.undo()
        os.umask(before)


LONGEST = "é" * 120 + "x" * 11 + ".jpg"


def test_the_longest_name_there_is(tmp_path):
    assert len(LONGEST.encode()) == 255
    save_picture(picture("RGB"), tmp_path / LONGEST)
    assert written(tmp_path) == [LONGEST]


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A folder without write permission, also for root."""
    (tmp_path / "closed").mkdir()
    access = os.access
    refused = lambda path, *_, **__: Path(path) != tmp_path / "closed" and access(path, os.W_OK)  # noqa: E731
    monkeypatch.setattr(os, "access", refused)
    monkeypatch.setattr(os, "supports_effective_ids", {refused})
    return tmp_path / "closed"


def test_what_cannot_be_written_is_known_before(tmp_path, closed):
    write_file(tmp_path / "file", b"")
    os.mkfifo(tmp_path / "pipe")
    for path, reason in {
        tmp_path: "a folder, expected a file",
        tmp_path / "pipe": "a device or a pipe, expected a file",
        "/dev/null": "a device or a pipe, expected a file",
        tmp_path / ("x" * 256): "(File name too long|longer than 247 bytes)",
        tmp_path
        / "new"
        / "newer"
        / ("x" * 256)
        / "a": "(File name too long|longer than 247 bytes)",
        tmp_path / "file" / "a": "Not a directory",
        tmp_path / "nul\0": "null",
        closed / "a": "no permission to write",
        closed / "new" / "a": "no permission to write",
    }.items():
        before = sorted(tmp_path.rglob("*"))
        for refused in (lambda path: check_output(path, overwrite=True), HashIndex(64).save):
            with pytest.raises(OutputError, match=f"cannot be written: .*{reason}.*; choose"):
                refused(path)
        assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(OutputExistsError, match="already exists"):
        check_output(tmp_path / "file")
    check_output(tmp_path / "new" / "a")
    assert not (tmp_path / "new").exists()


NO_MODEL = ["--model", "no-such-model"]
COMMANDS = {
    "remove": ["remove", "a.png", "-o", "OUT.png", *NO_MODEL],
    "remove a folder": ["remove", "photos", "-o", "OUT", *NO_MODEL],
    "remove --dry-run": ["remove", "photos", "-o", "OUT", "--dry-run"],
    "remove --suffix": ["remove", "photos", "--suffix", ".clean" * 50, *NO_MODEL],
    "index": ["index", "photos", "-o", "OUT.lcdh", *NO_MODEL],
    "search": ["search", "no.lcdh", "dog", "--contact-sheet", "OUT.jpg", *NO_MODEL],
    "export": ["export", "no-such-model", "-o", "OUT.onnx"],
    "faiss export": ["faiss", "export", "no.lcdh", "OUT.faiss"],
    "faiss import": ["faiss", "import", "no.faiss", "OUT.lcdh"],
    "train reflection": ["train", "reflection", "--photos", "nowhere", "--out", "OUT"],
    "train teacher": ["train", "teacher", "--images", "nowhere", "--out", "OUT"],
    "evaluate": ["evaluate", "reflection", "--data", "nowhere", "--save-pictures", "OUT"],
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("place", ["file/x", "x" * 256, "closed/x"])
def test_commands_refuse_outputs_before_the_work(closed, monkeypatch, capsys, name, place):
    """Models and data do not exist: a check after loading them would not be reached."""
    monkeypatch.chdir(closed.parent)
    Path("photos").mkdir()
    picture("RGB").save("a.png")
    picture("RGB").save("photos/a.png")
    write_file("file", b"precious")
    before = sorted(Path().rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda path, *_, **__: Path(path).name != "closed")
        patch.setattr("os.supports_effective_ids", {os.access})
        status = main([part.replace("OUT", place) for part in COMMANDS[name]])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line[:8] == "derefl: "]
    assert status == 1
    assert "cannot be written" in line
    assert sorted(Path().rglob("*")) == before


def test_a_file_beside_the_faiss_file_is_not_replaced_unasked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_index("photos.lcdh")
    write_file("out.faiss.json", b"precious")
    assert main(["faiss", "export", "photos.lcdh", "out.faiss"]) == 1
    assert "out.faiss.json already exists" in capsys.readouterr().err
    assert Path("out.faiss.json").read_bytes() == b"precious"
    assert not Path("out.faiss").exists()


def test_a_plot_of_no_known_format_is_refused_before_the_stream(tmp_path, capsys):
    plot = str(tmp_path / "plot.txt")
    assert main(["evaluate", "online", "--images", "no", "--captions", "no", "--plot", plot]) == 1
    assert "plot.txt cannot be a plot; name it like plot.png" in capsys.readouterr().err
