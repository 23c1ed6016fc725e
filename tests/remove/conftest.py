"""``derefl remove`` with a tiny model, in a separate folder for every test."""

import pytest

from derefl.cli import main


@pytest.fixture
def remove(checkpoint, tmp_path, monkeypatch):
    """Run ``derefl remove`` with the tiny model, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: main(["remove", *args, "--model", str(checkpoint)])
