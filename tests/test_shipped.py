"""The shipped weights give their stored outputs, and remove reflections from the examples."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from derefl import load_derefl
from derefl.zoo.manifest import find_model
from tests.conftest import REPOSITORY
from tests.parity import FIXTURES

PICTURES = REPOSITORY / "examples" / "pictures"

GAIN = {"brushes": 2.3, "coffee": 5.4, "friends": 4.8, "wine": 2.2}
"""Gain in dB, about half a decibel below the measured gain."""


def psnr(a, b):
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return 10 * np.log10(255**2 / np.mean(difference**2))


@torch.inference_mode()
def test_parity_in_float32():
    stored = load_file(FIXTURES / "derefl-base.safetensors")
    layers = load_derefl()(stored["input"])
    for layer, value in layers._asdict().items():
        torch.testing.assert_close(value, stored[layer], atol=1e-4, rtol=0, msg=layer)


@torch.inference_mode()
def test_parity_in_bfloat16_is_loose():
    stored = load_file(FIXTURES / "derefl-base.safetensors")
    layers = load_derefl(dtype="bfloat16")(stored["input"].bfloat16())
    error = (layers.transmission.float() - stored["transmission"]).abs()
    assert error.mean() < 0.01


def test_limits_of_size():
    entry = find_model("derefl-base")
    assert entry.parameters <= 12_000_000 and entry.bytes <= 25_000_000


@pytest.mark.parametrize("picture", GAIN)
def test_reflections_are_removed_from_the_examples(picture):
    """The output is nearer to the scene than the input is."""
    glass = Image.open(PICTURES / "through_glass" / f"{picture}.jpg")
    scene = Image.open(PICTURES / "layers" / f"{picture}.jpg")
    clean = load_derefl().dereflect(glass)
    assert clean.size == glass.size and clean.mode == "RGB"
    assert psnr(clean, scene) > psnr(glass, scene) + GAIN[picture]


def test_a_photo_without_reflection_changes_little():
    scene = Image.open(PICTURES / "layers" / "stream.jpg").reduce(2)
    assert psnr(load_derefl().dereflect(scene), scene) > 30
