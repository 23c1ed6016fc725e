"""``derefl remove`` with a tiny model, in a separate folder for every test."""

import pytest

from derefl.cli import main


@pytest.fixture
def remove(checkpoint, tmp_path, monkeypatch):
    """Run ``derefl remove`` in an empty folder, by default with the tiny model."""
    monkeypatch.chdir(tmp_path)
    tiny = ["--model", checkpoint]
    return lambda *args: main(["remove", *([] if "--model" in args else tiny), *args])
