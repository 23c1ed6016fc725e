"""``derefl remove`` as a separate process: pipes, signals, terminals."""

import io
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from derefl.cli import main
from derefl.imaging.files import open_picture
from derefl.reflection.remover import ReflectionRemover, load_derefl
from tests.pictures import MAKE, exif_block, icc_profile, picture, same_pixels
from tests.remove.tools import error_lines, save, written

DEREFL = [sys.executable, "-m", "derefl", "remove"]


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


def test_a_picture_through_a_real_pipe(checkpoint, tmp_path):
    data = encoded("JPEG", exif=exif_block(6), icc_profile=icc_profile())
    command = [*DEREFL, "-", "-o", "-", "--model", str(checkpoint)]
    result = subprocess.run(command, input=data, capture_output=True, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    with Image.open(io.BytesIO(result.stdout)) as file:
        assert (file.format, file.size) == ("JPEG", (18, 24))
        assert file.getexif()[MAKE] == "Testcam"
        assert file.info["icc_profile"] == icc_profile()
    (tmp_path / "in.jpg").write_bytes(data)
    command = ["remove", str(tmp_path / "in.jpg"), "-o", str(tmp_path / "out.jpg")]
    assert main([*command, "--model", str(checkpoint)]) == 0
    assert result.stdout == (tmp_path / "out.jpg").read_bytes()
    assert written(tmp_path) == ["in.jpg", "out.jpg"]


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_standard_output_has_the_format_of_standard_input(pipe, format):
    status, out, err = pipe(encoded(format, "RGBA"), "-", "-o", "-")
    assert (status, err) == (0, "")
    with Image.open(io.BytesIO(out)) as file:
        assert (file.format, file.mode) == (format, "RGBA")


def test_another_format_on_standard_output(pipe, checkpoint):
    status, out, _ = pipe(encoded("JPEG", quality=95), "-", "-o", "-", "--format", "png")
    assert status == 0
    Path("in.jpg").write_bytes(encoded("JPEG", quality=95))
    expected = load_derefl(checkpoint).dereflect(open_picture("in.jpg"))
    with Image.open(io.BytesIO(out)) as file:
        assert file.format == "PNG"
        assert same_pixels(file, expected)


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
    assert "new/out.png is there already" in err


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "standard input is empty, expected a picture: derefl remove - -o - <"),
        (b"not a picture", "standard input is not a picture"),
        (encoded("PNG")[:-40], "standard input is damaged or cut short"),
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


def test_a_reader_that_has_gone(tmp_path):
    save(tmp_path / "in.png")
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [*DEREFL, "in.png", "-o", "-"], stdout=write_end, stderr=subprocess.PIPE, cwd=tmp_path
    )
    os.close(write_end)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_no_picture_from_or_to_a_terminal(tmp_path, name):
    ours, theirs = pty.openpty()
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, name: theirs}
    process = subprocess.Popen(
        [*DEREFL, "-", "-o", "-"], **streams, stderr=subprocess.PIPE, cwd=tmp_path
    )
    os.close(theirs)
    _, err = process.communicate(None if name == "stdin" else encoded("PNG"))
    os.close(ours)
    assert process.returncode == 1
    words = {"stdin": "standard input is a terminal", "stdout": "standard output is a terminal"}
    assert err.decode().startswith(f"derefl: {words[name]}")


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


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_whole_files_only(remove, checkpoint, sign):
    total = 400
    save("photos/0.png")
    picture("RGB", (160, 120)).save("photos/0.png")
    for number in range(1, total):
        Path(f"photos/{number}.png").write_bytes(Path("photos/0.png").read_bytes())
    command = [*DEREFL, "photos", "-o", "cleaned", "--workers", "2", "--model", str(checkpoint)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores SIGINT, and its children inherit this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while len(list(Path().glob("cleaned/[0-9]*.png"))) < 5 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(sign)
    out, err = process.communicate()
    done = written("cleaned")
    assert process.returncode == 130
    assert out == ""
    assert err == (
        f"derefl: interrupted; {len(done)} of {total} pictures are done. To go on, give the same "
        "command with --resume\n"
    )
    assert 5 <= len(done) < total
    for name in done:  # no temporary names, all files complete
        assert Path("photos", name).exists()
        open_picture(Path("cleaned", name))


def test_after_ctrl_c_resume_does_the_rest(remove, monkeypatch, capsys):
    for name in "abcdef":
        save(f"photos/{name}.png")
    separate, calls = ReflectionRemover.separate, []

    def interrupt(self, image, **options):
        calls.append(image)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return separate(self, image, **options)

    monkeypatch.setattr(ReflectionRemover, "separate", interrupt)
    assert remove("photos", "-o", "cleaned", "--json") == 130
    streams = capsys.readouterr()
    assert "interrupted; 3 of 6 pictures are done" in streams.err
    assert '"pending": 3' in streams.out
    assert written("cleaned") == ["a.png", "b.png", "c.png"]
    assert remove("photos", "-o", "cleaned", "--resume") == 0
    assert capsys.readouterr().out == "3 of 6 pictures written to cleaned, 3 there already\n"
    assert len(calls) == 7


def test_ctrl_c_with_overwrite_does_not_speak_of_resume(remove, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    save("photos/a.png")
    save("photos/b.png")
    monkeypatch.setattr(ReflectionRemover, "separate", interrupt)
    assert remove("photos", "-o", "photos", "--overwrite") == 130
    assert error_lines(capsys) == ["derefl: interrupted; 0 of 2 pictures are done"]
