import io
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from derefl import DereflError, __version__
from derefl.cli import COMMANDS, main, parser
from derefl.commands import models
from derefl.zoo.manifest import ModelEntry


@pytest.mark.parametrize("args", [[], ["remove"], ["remove", "a.jpg"], ["fly"], ["--fly"]])
def test_bad_usage_exits_2(args, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    assert exit_info.value.code == 2
    assert "usage: derefl" in capsys.readouterr().err


def test_every_command_is_in_the_help_and_has_one(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        assert f"\n    {name}" in text
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0
        assert f"usage: derefl {name}" in capsys.readouterr().out


def test_python_m_derefl():
    out = subprocess.run(
        [sys.executable, "-m", "derefl", "--version"], capture_output=True, text=True
    )
    assert (out.returncode, out.stdout, out.stderr) == (0, f"derefl {__version__}\n", "")


def test_importing_derefl_and_help_are_quick():
    code = """
import sys, derefl
assert not {"torch", "timm", "PIL", "numpy"} & {*sys.modules}
from derefl.cli import main
for command in ("remove", "evaluate hashing", "evaluate online"):
    try:
        main([*command.split(), "--help"])
    except SystemExit as end:
        assert end.code == 0
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def entry(**changes):
    fields = {
        "name": "derefl-base",
        "kind": "derefl",
        "config": {},
        "file": "derefl-base.safetensors",
        "bytes": 16_345_678,
        "sha256": "0" * 64,
        "dtype": "float16",
        "parameters": 8_123_456,
        "where": {"bundled": "weights/derefl-base.safetensors", "hub": None},
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
    return msgspec.convert(fields | changes, ModelEntry)


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
    assert rows[0].split("  ")[0] == "derefl-base"
    for words in ("derefl", "8.1 M", "16.3 MB", "bundled", "Apache-2.0"):
        assert words in rows[0]
    assert "real20, 20 pictures, resize32: 23.46 dB, SSIM 0.805" in lines[1]
    assert "unpublished" in rows[1]
    assert lines[lines.index(rows[1]) + 1].strip() == "not measured"
    assert "org/c" in rows[2]
    columns = [header.index(word) for word in models.HEADER]
    assert all(row[column - 1] == " " != row[column] for row in rows for column in columns[1:])


def test_a_reader_that_has_gone_and_a_full_disk():
    command = [sys.executable, "-m", "derefl", "--help"]
    env = os.environ | {"PYTHONUNBUFFERED": ""}
    gone, pipe = os.pipe()
    os.close(gone)
    with os.fdopen(pipe, "w") as closed, Path("/dev/full").open("w") as full:
        for stdout, status, error in (
            (closed, 141, ""),
            (full, 1, "derefl: standard output: No space left on device\n"),
        ):
            done = subprocess.run(
                command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env
            )
            assert (done.returncode, done.stderr) == (status, error)


def test_closed_streams(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["remove", "-", "-o", "x.jpg"]) == 1
    assert capsys.readouterr().err.startswith("derefl: standard input is empty, expected a pict")
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["models"]) == 1
    assert capsys.readouterr().err == "derefl: standard output: Bad file descriptor\n"


def test_options_that_commands_share():
    commands = (["remove", "a", "-o", "b"], ["index", "a", "-o", "b"], ["search", "a", "b"])
    for command in (*commands, ["evaluate", "clean", "--data", "a"], ["demo"]):
        for device in ("cpu", "mps", "cuda", "cuda:1"):
            assert parser().parse_args([*command, "--device", device]).device == device
        for device in ("gpu", "cuda:", "cuda:x", "cpu:0:1", "CUDA"):
            with pytest.raises(SystemExit):
                parser().parse_args([*command, "--device", device])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied", "a.jpg"), "a.jpg: Permission denied"),
        (OSError("odd"), "odd"),
        (MemoryError(), "out of memory; process less at once, or close other programs"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory; process less"),
        (DereflError("two\nlines"), "two lines"),
    ],
)
def test_errors_are_one_line(monkeypatch, capsys, error, words):
    def fail(args):
        raise error

    monkeypatch.setattr(models, "run", fail)
    assert main(["models"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"derefl: {words}")


@pytest.mark.parametrize(
    ("encoding", "shown"), [("cp1252", b"caf\xe9 \\u65e5"), ("utf-8", b"caf\xe9 \xe6\x97\xa5")]
)
def test_text_that_the_terminal_cannot_show(monkeypatch, encoding, shown):
    raw = io.BytesIO()
    monkeypatch.setattr(models, "run", lambda args: sys.stdout.write("caf\udce9 日") * 0)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert main(["models"]) == 0
    assert raw.getvalue() == shown


def test_repeated_options_add_up():
    for command, name in (
        ("evaluate validation", "val"),
        ("evaluate validation", "photos"),
        ("train reflection", "run.validation"),
        ("evaluate validation", "model"),
        ("train student", "teacher"),
        ("train heads", "set"),
        ("bench", "model"),
    ):
        option = "--val" if name == "run.validation" else f"--{name}"
        extra = ["--out", "runs"] if command.startswith("train") else []
        words = [*command.split(), option, "a=x", "b=y", option, "c=z", *extra]
        for _ in range(2):  # a second call does not see the values of the first call
            assert vars(parser().parse_args(words))[name] == ["a=x", "b=y", "c=z"], command


def test_a_repeated_option_with_one_value_is_refused(capsys):
    command, once = parser(), ["search", "a", "b", "-k", "10"]
    for _ in range(2):  # the default is also a value, and each call starts from nothing
        assert command.parse_args(once).k == 10
        with pytest.raises(SystemExit):
            command.parse_args([*once, "-k", "3"])
        assert "argument -k: given twice; leave one of them out" in capsys.readouterr().err
