"""Photos larger than the network's input: tiles, strips and the guided filter."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from derefl import load_derefl
from derefl.imaging.tensors import to_tensor
from derefl.reflection.channel_means import recording, replaying
from derefl.reflection.model import Layers
from derefl.reflection.tiling import any_size, row_reader, tile_size
from derefl.reflection.tiling.any_size import picture_means
from derefl.reflection.tiling.guided_filter import gain_and_offset
from derefl.reflection.tiling.row_reader import RowReader, enlarged
from derefl.reflection.tiling.spans import spans
from tests.conftest import REPOSITORY
from tests.pictures import KINDS, deep_picture, picture, same_pixels


@pytest.fixture
def small_limits(monkeypatch):
    """Photos of a few hundred pixels count as large, and a strip has a few rows."""
    monkeypatch.setattr(any_size, "WHOLE", 20 * 20)
    monkeypatch.setattr(row_reader, "STRIP", 200)


def photo(height, width):
    """A picture with shapes, float32 [1 3 h w] in [0, 1]."""
    coarse = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")
    return (smooth + (smooth[:, :, :, :1] > 0.5) * 0.2).clamp(0, 1)


def together(bands):
    """Bands from top to bottom, joined into one tensor."""
    at, whole = 0, []
    for top, band in bands:
        assert top == at
        at += band.shape[2]
        whole.append(band)
    return torch.cat(whole, dim=2)


def changes(look, x, detail):
    """The whole change, and a check of the pixels that come with it."""
    tops, pixels, changes = zip(
        *any_size.changes(look, RowReader.of_tensor(x), detail, side=512), strict=True
    )
    assert torch.equal(torch.cat(pixels, dim=2), x)
    return together(zip(tops, changes, strict=True))


# geometry


@pytest.mark.parametrize("length", [32, 513, 769, 4096])
@pytest.mark.parametrize(("side", "overlap"), [(512, 256), (1280, 512)])
def test_spans_cover_every_pixel_once(length, side, overlap):
    weight = torch.zeros(length)
    result = spans(length, side=side, overlap=overlap)
    for span in result:
        assert span.stop - span.start <= side
        assert span.start % 256 == 0
        weight[span.start : span.stop] += span.weight
    torch.testing.assert_close(weight, torch.ones(length))
    for before, after in pairwise(result):
        assert before.weight[-64:].sum() == after.weight[:64].sum() == 0


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_strips_are_resized_as_in_the_whole(monkeypatch, mode):
    monkeypatch.setattr(row_reader, "STRIP", 700)
    x = photo(123, 97)
    rows = RowReader.of_tensor(x)
    assert rows.step == 7
    expected = F.interpolate(x, (40, 31), mode="bilinear", antialias=True)
    torch.testing.assert_close(rows.shrunk(40, 31), expected, atol=1e-6, rtol=0)
    expected = F.interpolate(x, (301, 277), mode=mode)
    for top, bottom in ((0, 301), (0, 7), (40, 58), (299, 301)):
        got = enlarged(x, 301, 277, top, bottom, mode)
        torch.testing.assert_close(got, expected[:, :, top:bottom], atol=1e-5, rtol=0)


# from small to full size


def test_a_change_that_follows_the_picture_is_transferred_exactly():
    """If D is linear in I, the full-size I gives the full-size D, with sharp edges."""
    large = (torch.arange(160) // 10 % 2 * 0.8 + 0.1).expand(1, 3, 160, 160)
    small = F.interpolate(large, (40, 40), mode="bilinear", antialias=True)
    gain, offset = gain_and_offset(small, 0.2 - 0.5 * small, radius=4, eps=1e-6)
    got = enlarged(gain, 160, 160, 0, 160, "bilinear") * large
    got += enlarged(offset, 160, 160, 0, 160, "bilinear")
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


def test_large_photos_are_seen_at_reduced_size(small_limits):
    seen = []

    def look(x):
        seen.append(tuple(x.shape[2:]))
        return x * 0 + 0.1

    x = photo(300, 200)
    change = changes(look, x, "auto")
    torch.testing.assert_close(change, torch.full_like(x, 0.1))
    assert seen == [(24, 16)]
    seen.clear()
    changes(look, x, "full")
    assert seen == [(24, 16), (300, 200)]


@pytest.mark.parametrize("kind", [*KINDS, "LA;16", "RGBA;16"])
def test_identity_of_large_pictures(tiny, monkeypatch, small_limits, kind):
    monkeypatch.setattr(tiny.network, "forward", lambda x: Layers(x, x * 0, x * 0))
    image = (deep_picture if kind[-3:] == ";16" and kind != "I;16" else picture)(kind, (70, 50))
    image.info["note"] = "mine"
    for detail in ("auto", "full"):
        separation = tiny.separate(image, detail=detail)
        assert same_pixels(separation.transmission, image)
        assert separation.transmission.info.keys() == image.info.keys()
        assert separation.reflection.mode == image.mode


def test_strips_are_not_visible(tiny, monkeypatch):
    """One strip or many strips give the same pixels, and the same amount of reflection."""
    monkeypatch.setattr(any_size, "WHOLE", 48 * 48)
    image = picture("RGB", (150, 140))
    whole = tiny.separate(image)
    monkeypatch.setattr(row_reader, "STRIP", 1000)
    strips = tiny.separate(image)
    difference = np.asarray(whole.transmission).astype(int) - np.asarray(strips.transmission)
    assert np.abs(difference).max() <= 1
    assert strips.amount == pytest.approx(whole.amount, rel=1e-4)
    assert not same_pixels(whole.transmission, image)


# tiles


def test_tiles_of_a_shift_invariant_look_are_the_whole():
    """Without the means over the picture, the result does not depend on the tiles."""
    kernel = torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(0))

    def look(x):
        return F.conv2d(F.pad(x, [4] * 4, mode="reflect"), kernel, groups=3)

    for height, width in ((700, 1201), (1100, 40)):
        x = photo(height, width)
        got = together(any_size.tiled(look, RowReader.of_tensor(x), side=768))
        inside = (..., slice(5, -5), slice(5, -5))  # padding differs by design
        torch.testing.assert_close(got[inside], look(x)[inside], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(3, 50_000), (50_000, 1), (17, 40_000)])
def test_the_thinnest_pictures_in_tiles(height, width):
    x = photo(height, width)
    got = together(any_size.tiled(lambda tile: tile, RowReader.of_tensor(x), side=768))
    torch.testing.assert_close(got, x)


@pytest.fixture(scope="module")
def shipped():
    return load_derefl()


@torch.inference_mode()
def test_tiles_agree_with_the_whole(shipped, monkeypatch):
    with Image.open(REPOSITORY / "examples/pictures/through_glass/friends.jpg") as file:
        x = to_tensor(file.convert("RGB").resize((48, 1056)))
    whole, rows = shipped._one_pass(x), RowReader.of_tensor(x)
    tiled = together(any_size.tiled(shipped._one_pass, rows, side=768))
    assert whole.abs().mean() * 255 > 2
    assert (tiled - whole).abs().mean() * 255 < 0.5
    monkeypatch.setattr(any_size, "picture_means", lambda *_: [])
    monkeypatch.setattr(any_size, "replaying", lambda _: nullcontext())  # means of each tile
    apart = together(any_size.tiled(shipped._one_pass, rows, side=768))
    assert (apart - whole).abs().mean() > 2 * (tiled - whole).abs().mean()


def test_means_are_recorded_and_replayed(tiny):
    x = photo(64, 96)
    with torch.inference_mode():
        with recording(torch.ones(64, 96)) as means:
            expected = tiny(x).transmission
        assert len(means) == 2 * 7  # two streams with seven blocks each
        with replaying(means):
            torch.testing.assert_close(tiny(x).transmission, expected)
        with replaying([mean + 100 for mean in means]):
            assert (tiny(x).transmission - expected).abs().max() > 1e-3
        assert torch.equal(tiny(x).transmission, expected)
        left = (torch.arange(96) < 32).float().expand(64, 96)
        with recording(left, means) as one:
            tiny(x)
        with recording(1 - left, means) as other:
            tiny(x)
    for a, b, whole in zip(one, other, means, strict=True):
        torch.testing.assert_close(a + b, whole, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(a, whole)


def test_picture_means_are_those_of_the_whole(tiny, monkeypatch):
    monkeypatch.setattr(any_size, "OVERLAP", 256)
    x = photo(600, 64)
    with torch.inference_mode():
        with recording(torch.ones(32, 32)) as means:
            tiny._one_pass(x)
        got = picture_means(tiny._one_pass, RowReader.of_tensor(x), side=512)
    for mean, expected in zip(got, means, strict=True):
        torch.testing.assert_close(mean, expected, atol=0.01, rtol=0.01)


# memory


def test_tiles_shrink_until_they_fit():
    tried = []

    def work(side):
        tried.append(side)
        if side > 1000:
            raise MemoryError if side > 2000 else RuntimeError("CUDA out of memory. Tried to …")
        return side

    assert tile_size.within_memory(work, 3072, 8000, 6000) == 768
    assert tried == [3072, 1536, 768]

    def fail(side):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        tile_size.within_memory(fail, 1536, 8000, 6000)


def test_tile_side_follows_the_memory(monkeypatch):
    for free, side in ((1e9, 768), (1e10, 1280), (1e6, 768), (float("inf"), 1280)):
        monkeypatch.setattr(tile_size, "free_memory", lambda device, free=free: free)
        assert tile_size.tile_side(torch.device("cpu"), 24) == side


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
    """Eight threads, small and large photos, both details: exactly the results of one thread."""
    monkeypatch.setattr(any_size, "WHOLE", 64 * 64)
    monkeypatch.setattr(tile_size, "LARGEST_SIDE", 512)
    monkeypatch.setattr(any_size, "OVERLAP", 256)
    sizes = [(40, 30), (90, 200), (530, 40), (64, 90), (200, 90)]
    images = [picture("RGB", size, seed=i) for i, size in enumerate(sizes)]
    jobs = [(image, detail) for image in images for detail in ("auto", "full")]

    def work(job):
        return tiny.dereflect(job[0], detail=job[1])

    expected = list(map(work, jobs))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, jobs))
    assert all(map(same_pixels, results, expected))
