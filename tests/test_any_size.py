"""Photos larger than the network's input: two sizes, strips and the guided filter."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from derefl.reflection import any_size, row_reader
from derefl.reflection.guided_filter import gain_and_offset
from derefl.reflection.model import Layers
from derefl.reflection.row_reader import RowReader, enlarged
from tests.pictures import KINDS, deep_picture, picture, same_pixels


@pytest.fixture
def small_limits(monkeypatch):
    """Photos of a few hundred pixels count as large, and a strip has a few rows."""
    monkeypatch.setattr(any_size, "LARGER", 20 * 20)
    monkeypatch.setattr(row_reader, "STRIP", 200)


def photo(height, width):
    """A picture with shapes, float32 [1 3 h w] in [0, 1]."""
    coarse = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")
    return (smooth + (smooth[:, :, :, :1] > 0.5) * 0.2).clamp(0, 1)


def changes(one_pass, x):
    """The whole change, and a check of the pixels that come with it."""
    tops, pixels, changes = zip(*any_size.changes(one_pass, RowReader.of_tensor(x)), strict=True)
    assert [*tops] == [0, *np.cumsum([part.shape[2] for part in pixels])[:-1]]
    assert torch.equal(torch.cat(pixels, dim=2), x)
    return torch.cat(changes, dim=2)


def test_strips_are_resized_as_in_the_whole(monkeypatch):
    monkeypatch.setattr(row_reader, "STRIP", 700)
    x = photo(123, 97)
    rows = RowReader.of_tensor(x)
    assert rows.step == 7
    expected = F.interpolate(x, (40, 31), mode="bilinear", antialias=True)
    torch.testing.assert_close(rows.shrunk(40, 31), expected, atol=1e-6, rtol=0)
    expected = F.interpolate(x, (301, 277), mode="bilinear")
    for top, bottom in ((0, 301), (0, 7), (40, 58), (299, 301)):
        got = enlarged(x, 301, 277, top, bottom)
        torch.testing.assert_close(got, expected[:, :, top:bottom], atol=1e-5, rtol=0)


# from small to full size


def test_a_change_that_follows_the_picture_is_transferred_exactly():
    """If D is linear in I, the full-size I gives the full-size D, with sharp edges."""
    large = (torch.arange(160) // 10 % 2 * 0.8 + 0.1).expand(1, 3, 160, 160)
    small = F.interpolate(large, (40, 40), mode="bilinear", antialias=True)
    gain, offset = gain_and_offset(small, 0.2 - 0.5 * small, radius=4, eps=1e-6)
    got = enlarged(gain, 160, 160, 0, 160) * large
    got += enlarged(offset, 160, 160, 0, 160)
    torch.testing.assert_close(got, 0.2 - 0.5 * large, atol=1e-4, rtol=0)
    blurred = F.interpolate(0.2 - 0.5 * small, (160, 160), mode="bilinear")
    assert (blurred - (0.2 - 0.5 * large)).abs().max() > 0.1


def test_gain_and_offset_give_the_change_at_its_own_size():
    guide = photo(40, 50)
    change = photo(40, 50).flip(3) - 0.5
    gain, offset = gain_and_offset(guide, change, radius=4, eps=1e-3)
    torch.testing.assert_close(gain * guide + offset, change, atol=1e-4, rtol=0)
    flat = torch.full((1, 3, 20, 20), 0.4)
    gain, offset = gain_and_offset(flat, flat * 0 - 0.1, radius=4, eps=1e-3)
    torch.testing.assert_close(gain, torch.zeros_like(gain), atol=1e-3, rtol=0)
    torch.testing.assert_close(offset, torch.full_like(offset, -0.1), atol=1e-3, rtol=0)


def test_the_network_sees_a_photo_in_two_sizes():
    """The mean of both changes; only large photos are scaled down, and no photo is enlarged."""
    seen = []

    def one_pass(x):
        seen.append(tuple(x.shape[2:]))
        return x * 0 + (0.1 if len(seen) == 1 else 0.3)

    for size, expected in (
        ((1200, 800), [(543, 362), (272, 181)]),
        ((384, 512), [(384, 512), (192, 256)]),
        ((250, 250), [(250, 250), (222, 222)]),
        ((222, 221), [(222, 221)]),
        ((1, 50_000), [(1, 12288), (1, 3072)]),  # the network pads to 16 rows
        ((40_000, 20), [(12288, 6), (3072, 2)]),
    ):
        seen.clear()
        x = torch.rand(1, 3, *size) / 2
        change = 0.2 if len(expected) == 2 else 0.1
        torch.testing.assert_close(changes(one_pass, x), torch.full_like(x, change))
        assert seen == expected


def test_a_small_photo_changes_as_in_the_network():
    """The guided filter adds nothing at the size that the network sees."""
    x = photo(140, 150)
    change = photo(140, 150).flip(3) - 0.5
    torch.testing.assert_close(changes(lambda _: change, x), change, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [*KINDS, "LA;16", "RGBA;16"])
def test_identity_of_large_pictures(tiny, monkeypatch, small_limits, kind):
    monkeypatch.setattr(tiny.network, "forward", lambda x: Layers(x, x * 0, x * 0))
    image = (deep_picture if kind[-3:] == ";16" and kind != "I;16" else picture)(kind, (70, 50))
    image.info["note"] = "mine"
    separation = tiny.separate(image)
    assert same_pixels(separation.transmission, image)
    assert separation.transmission.info.keys() == image.info.keys()
    assert separation.reflection.mode == image.mode


def test_strips_are_not_visible(tiny, monkeypatch):
    """One strip or many strips give the same pixels, and the same amount of reflection."""
    monkeypatch.setattr(any_size, "LARGER", 48 * 48)
    image = picture("RGB", (150, 140))
    whole = tiny.separate(image)
    monkeypatch.setattr(row_reader, "STRIP", 1000)
    strips = tiny.separate(image)
    difference = np.asarray(whole.transmission).astype(int) - np.asarray(strips.transmission)
    assert np.abs(difference).max() <= 1
    assert strips.amount == pytest.approx(whole.amount, rel=1e-4)
    assert not same_pixels(whole.transmission, image)


# memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to RLIMIT_AS")
def test_memory_that_really_runs_out_is_one_sentence():
    """In a separate process, because oneDNN does not always recover."""
    code = """
import resource
from pathlib import Path
from PIL import Image
from derefl.errors import ImageError
from derefl.reflection.model import DeRefl
from derefl.reflection.remover import ReflectionRemover
from tests.tiny import TINY
model = ReflectionRemover(DeRefl(TINY))
model.dereflect(Image.new("RGB", (64, 64)))
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 2**24, -1))
try:
    model.dereflect(Image.new("RGB", (900, 800)))
except ImageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("not enough memory for a picture of 900×800 pixels; "), done
    assert done.stdout.count("\n") == 1


# threads


def test_threads_share_a_model_with_photos_of_all_sizes(tiny, monkeypatch):
    """Eight threads, small and large photos: exactly the results of one thread."""
    monkeypatch.setattr(any_size, "LARGER", 64 * 64)
    sizes = [(40, 30), (90, 200), (530, 40), (64, 90), (200, 90)]
    images = [picture("RGB", size, seed=i) for i, size in enumerate(sizes)] * 2
    expected = list(map(tiny.dereflect, images))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(tiny.dereflect, images))
    assert all(map(same_pixels, results, expected))
