"""Helpers for the tests of ``derefl remove``."""

import json
from pathlib import Path

from tests.pictures import picture


def written(folder="."):
    """All files under a folder, hidden files included, as sorted relative names."""
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def contents(folder="."):
    """The bytes of all files under a folder."""
    return {name: Path(folder, name).read_bytes() for name in written(folder)}


def save(*paths, kind="RGB", seed=0, size=(24, 18)):
    """Save the same small picture to each path."""
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(kind, size, seed=seed).save(path)


def error_lines(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("derefl: ")]


def report(capsys):
    """The JSON report, which must be the only text on standard output."""
    return json.loads(capsys.readouterr().out)
