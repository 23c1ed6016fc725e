"""Fixtures for several test files.

torch and derefl are imported in the fixtures: pytest-xdist also imports this file in its main
process, which runs no tests.
"""

import copy
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

REPOSITORY = Path(__file__).parents[1]

# The tensors of the tests are small: threads make them slower, also in child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CASES = int(os.environ.get("DEREFL_FUZZ", "0"))
"""Random cases per Hypothesis test; 0: a few fixed cases."""

settings.register_profile(
    "derefl",
    max_examples=CASES or 20,
    derandomize=not CASES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("derefl")


@pytest.fixture
def bfloat16(monkeypatch):
    """Training in bfloat16, which some CPUs emulate."""
    import torch

    monkeypatch.setattr("derefl.training.precision.autocast_dtype", lambda device: torch.bfloat16)


@pytest.fixture
def small_validation(monkeypatch):
    """Synthetic validation pictures of 64 pixels a side: networks take long on larger ones."""
    monkeypatch.setattr("derefl.reflection.learning.validate.SIDE", 64)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Skip fsync: files of tests need not survive a power cut, and a disk takes long to confirm."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def tiny():
    """A remover with a small network."""
    from tests.tiny import tiny_remover

    return tiny_remover()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> str:
    """The file of ``tiny``; read-only."""
    from tests.tiny import tiny_remover

    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny_remover().save(path)
    return str(path)


@pytest.fixture(scope="session", autouse=True)
def built_once(checkpoint):
    """Build each shipped network and the network of ``checkpoint`` once; every load gets a copy.

    Building a network takes longer than most tests. The files are read and checked as usual.
    """
    import derefl.zoo.checkpoint
    from derefl.zoo.manifest import package_folder

    folders = {package_folder().resolve() / "weights", Path(checkpoint).parent}
    build_again, made = derefl.zoo.checkpoint.built, {}

    def built(config, build, tensors, path, *, trusted):
        if path.resolve().parent not in folders:
            return build_again(config, build, tensors, path, trusted=trusted)
        key = (path.resolve(), build.__code__, *(c.cell_contents for c in build.__closure__ or ()))
        if key not in made:
            made[key] = build_again(config, build, tensors, path, trusted=trusted)
        return copy.deepcopy(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derefl.zoo.checkpoint, "built", built)
        yield


@pytest.fixture
def pair_folder(tmp_path):
    """A data set of three 64×96 pairs; the input is 20 levels brighter than the ground truth."""
    rng = np.random.default_rng(0)
    for index, suffix in enumerate(("png", "jpg", "png")):
        truth = np.kron(rng.integers(0, 200, (8, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        for part, array, ending in (
            ("transmission_layer", truth, "png"),
            ("blended", truth + 20, suffix),
        ):
            (tmp_path / "pairs" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "pairs" / part / f"{index}.{ending}")
    return tmp_path / "pairs"


@pytest.fixture
def photo_folder(tmp_path):
    """Small photos of colour blocks; training holds back two."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for index in range(42):
        array = np.kron(rng.integers(0, 256, (5, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8)
        Image.fromarray(array).save(folder / f"{index:02d}.png")
    return folder


@pytest.fixture(scope="session")
def examples(tmp_path_factory) -> Path:
    """The programs of examples/, beside small copies of its pictures."""
    folder = tmp_path_factory.mktemp("examples")
    original = REPOSITORY / "examples"
    for path in original.glob("*.py"):
        (folder / path.name).symlink_to(path)
    for path in original.glob("pictures/*/*.jpg"):
        small = folder / path.relative_to(original)
        small.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as picture:
            picture.thumbnail((240, 240))
            picture.save(small)
    return folder
