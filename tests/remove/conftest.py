"""A tiny model for ``derefl remove``, and a folder of its own for every test."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from derefl.cli import main
from derefl.reflection.pipeline import ReflectionRemover
from derefl.zoo import save_checkpoint
from tests.conftest import TINY


@pytest.fixture(scope="package")
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
