"""``derefl remove`` as a separate process: pipes, signals, terminals."""

import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from derefl.imaging.files import open_picture
from derefl.reflection.remover import ReflectionRemover, load_derefl
from tests.forked import Forked
from tests.pictures import MAKE, exif_block, icc_profile, picture, same_pixels
from tests.remove.tools import save, written


def encoded(format, kind="RGB", **options):
    buffer = io.BytesIO()
    picture(kind).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def pipe(remove, monkeypatch, capfdbinary):
    """Run ``derefl remove`` with bytes on standard input; gives status, output and messages."""

    def run(data, *args):
        Path("standard-input").write_bytes(data)
        with Path("standard-input").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            status = remove(*args)
        Path("standard-input").unlink()
        streams = capfdbinary.readouterr()
        return status, streams.out, streams.err.decode()

    return run


# pipes


def test_a_picture_through_a_pipe(remove, checkpoint):
    data = encoded("JPEG", exif=exif_block(6), icc_profile=icc_profile())
    stdin, source = os.pipe()
    result, stdout = os.pipe()
    os.write(source, data)
    os.close(source)
    command = ("remove", "-", "-o", "-", "--model", checkpoint)
    assert Forked(*command, stdin=stdin, stdout=stdout).wait() == (0, "")
    out = os.read(result, 1 << 20)
    for end in (stdin, stdout, result):
        os.close(end)
    with Image.open(io.BytesIO(out)) as file:
        assert (file.format, file.size) == ("JPEG", (18, 24))
        assert file.getexif()[MAKE] == "Testcam"
        assert file.info["icc_profile"] == icc_profile()
    Path("in.jpg").write_bytes(data)
    assert remove("in.jpg", "-o", "out.jpg") == 0
    assert out == Path("out.jpg").read_bytes()
    assert written() == ["in.jpg", "out.jpg"]


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_the_format_of_standard_output(pipe, format, checkpoint):
    """The format of standard input, or another format."""
    data = encoded(format, "RGBA", **({"lossless": True} if format == "WEBP" else {}))
    Path("in").write_bytes(data)
    expected = load_derefl(checkpoint).dereflect(open_picture("in"))
    Path("in").unlink()
    for options, name in (([], format), (["--format", "png"], "PNG")):
        status, out, err = pipe(data, "-", "-o", "-", *options)
        assert (status, err) == (0, "")
        with Image.open(io.BytesIO(out)) as file:
            assert file.format == name
            assert same_pixels(file, expected)
    assert pipe(data, "-", "-o", "-", "--only-if", "1") == (0, data, "")  # copied


def test_one_end_may_be_a_file(pipe):
    save("in.png")
    status, from_file, err = pipe(b"", "in.png", "-o", "-")
    assert (status, err) == (0, "")
    data = Path("in.png").read_bytes()
    status, out, err = pipe(data, "-", "-o", "new/out.png", "--compare", "--json")
    assert (status, err) == (0, "")
    assert b'"input": "standard input"' in out
    assert written() == ["in.png", "new/out.compare.png", "new/out.png"]
    assert Path("new/out.png").read_bytes() == from_file
    status, out, err = pipe(data, "-", "-o", "new/out.png")
    assert (status, out) == (1, b"")
    assert "new/out.png already exists" in err


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "standard input is empty, expected a picture: derefl remove - -o - <"),
        (b"not a picture", "standard input is not a picture"),
        (encoded("BMP"), "standard input is BMP, which derefl does not write; add --format png"),
    ],
)
def test_bad_standard_input_is_one_line_and_no_output(pipe, data, words):
    status, out, err = pipe(data, "-", "-o", "-")
    assert (status, out) == (1, b"")
    (line,) = err.splitlines()
    assert line.startswith("derefl: standard input")
    assert words in line
    assert written() == []


def test_a_file_called_minus(remove):
    save("in.png")
    Path("in.png").rename("-")
    assert remove("./-", "-o", "out.png") == 0
    assert written() == ["-", "out.png"]


def test_a_reader_that_has_gone(remove, checkpoint):
    save("in.png")
    gone, stdout = os.pipe()
    os.close(gone)
    command = ("remove", "in.png", "-o", "-", "--model", checkpoint)
    assert Forked(*command, stdout=stdout).wait() == (141, "")
    os.close(stdout)


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_no_picture_from_or_to_a_terminal(remove, name):
    Path("in.png").write_bytes(encoded("PNG"))
    ours, terminal = pty.openpty()
    with Path("in.png").open() as stdin, Path("out").open("w") as stdout:
        streams = {"stdin": stdin.fileno(), "stdout": stdout.fileno(), name: terminal}
        status, err = Forked("remove", "-", "-o", "-", **streams).wait()
    os.close(terminal)
    os.close(ours)
    assert status == 1
    words = {"stdin": "standard input is a terminal", "stdout": "standard output is a terminal"}
    assert err.startswith(f"derefl: {words[name]}")


def test_checking_needs_no_torch(remove):
    save("photos/a.png")
    code = (
        "import sys\nfrom derefl.cli import main\n"
        "status = main(['remove', 'photos', '-o', 'cleaned', '--dry-run'])\n"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == "photos/a.png -> cleaned/a.png"


# Ctrl-C


def test_a_stopped_run_leaves_whole_files_only(remove, checkpoint):
    """SIGTERM works like Ctrl-C."""
    total = 400
    save("photos/0.png", size=(160, 120))
    for number in range(1, total):
        Path(f"photos/{number}.png").write_bytes(Path("photos/0.png").read_bytes())
    command = ("remove", "photos", "-o", "cleaned", "--workers", "2", "--model", checkpoint)
    with Path("out").open("w") as out:
        derefl = Forked(*command, stdout=out.fileno())
    while len(list(Path().glob("cleaned/[0-9]*.png"))) < 5 and derefl.process.is_alive():
        time.sleep(0.01)
    derefl.process.terminate()
    status, err = derefl.wait()
    done = written("cleaned")
    assert (status, Path("out").read_text()) == (130, "")
    assert err == (
        f"derefl: interrupted; {len(done)} of {total} pictures are finished. To continue, repeat "
        "the command with --resume\n"
    )
    assert 5 <= len(done) < total
    for name in done:  # no temporary names, all files complete
        assert Path("photos", name).exists()
        open_picture(Path("cleaned", name))


def test_after_ctrl_c_resume_does_the_rest(remove, monkeypatch, capsys):
    names = [f"photos/{name}.png" for name in "abcdef"]
    save(*names)
    separate, calls = ReflectionRemover.separate, []

    def interrupt(self, image, **options):
        calls.append(image)
        if len(calls) in (4, 8, 9):
            raise KeyboardInterrupt
        return separate(self, image, **options)

    monkeypatch.setattr(ReflectionRemover, "separate", interrupt)
    assert remove("photos", "-o", "cleaned", "--json") == 130
    streams = capsys.readouterr()
    assert "interrupted; 3 of 6 pictures are finished. To continue, " in streams.err
    assert '"pending": 3' in streams.out
    assert written("cleaned") == ["a.png", "b.png", "c.png"]
    assert remove("photos", "-o", "cleaned", "--resume") == 0
    assert capsys.readouterr().out == "3 of 6 pictures written to cleaned, 3 already there\n"
    assert len(calls) == 7
    assert remove("photos", "-o", "cleaned", "--overwrite") == 130  # --resume cannot continue that
    assert capsys.readouterr().err == "derefl: interrupted; 0 of 6 pictures are finished\n"
    assert remove("photos/a.png", "-o", "new.png") == 130
    assert capsys.readouterr().err == "derefl: interrupted\n"
    assert not Path("new.png").exists()
