"""Helpers for the tests of ``derefl remove``."""

import json
from pathlib import Path

import pytest

from tests.pictures import picture


def written(folder="."):
    """All files under a folder, hidden files included, as sorted relative names."""
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def save(path, kind="RGB", seed=0):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture(kind, seed=seed).save(path)


def error_lines(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("derefl: ")]


def report(capsys):
    """The JSON report, which must be the only text on standard output."""
    return json.loads(capsys.readouterr().out)


def usage_error(remove, *args, capsys):
    """The error message of a wrong command line, without the usage."""
    with pytest.raises(SystemExit) as exit_info:
        remove(*args)
    assert exit_info.value.code == 2
    assert written() == []
    return capsys.readouterr().err.splitlines()[-1]
