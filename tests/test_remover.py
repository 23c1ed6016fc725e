"""The remover: pictures, tensors, loading and saving."""

import inspect
import io
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import derefl
from derefl.errors import CheckpointError, ConfigError, ImageError, ModelNotFoundError
from derefl.imaging.files import open_picture
from derefl.imaging.tensors import from_tensor, to_tensor
from derefl.reflection.model import DeRefl, Layers
from derefl.reflection.remover import ReflectionRemover, load_derefl
from derefl.zoo import save_checkpoint
from tests.pictures import (
    MAKE,
    ORIENTATION,
    deep_picture,
    exif_block,
    icc_profile,
    picture,
    same_pixels,
)
from tests.tiny import TINY


def pretend(monkeypatch, model, function):
    """Make the network return ``function`` of its input."""
    monkeypatch.setattr(model.network, "forward", lambda x: Layers(function(x), x * 0, x * 0))


@pytest.fixture
def identity(tiny, monkeypatch):
    pretend(monkeypatch, tiny, lambda x: x)
    return tiny


# the output of the network is in the result


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 3), (16, 16), (17, 15), (40, 33)])
def test_dereflect_is_the_network(tiny, size):
    image = picture("RGB", size)
    padding = ((0, max(0, 16 - size[1])), (0, max(0, 16 - size[0])), (0, 0))
    padded = Image.fromarray(np.pad(np.asarray(image), padding, mode="edge"))
    with torch.no_grad():
        expected = tiny(to_tensor(padded)).transmission[:, :, : size[1], : size[0]]
    result = np.asarray(tiny.dereflect(image)).astype(int)
    assert result.shape == (size[1], size[0], 3)
    difference = np.abs(result - np.asarray(from_tensor(expected, image)))
    assert difference.max() <= 1  # ties may round in the other direction
    assert difference.mean() < 0.01
    assert np.abs(result - np.asarray(image)).mean() > 2  # the picture changes


def test_separate_adds_up(tiny):
    image = picture("RGB", (40, 33))
    separation = tiny.separate(image)
    assert same_pixels(separation.transmission, tiny.dereflect(image))
    removed = np.asarray(image).astype(int) - np.asarray(separation.transmission)
    reflection = np.asarray(separation.reflection).astype(int)
    assert np.abs(reflection - removed.clip(0)).max() <= 1
    assert reflection.max() > 5
    assert (removed < 0).any()  # brightened pixels: black in the reflection
    assert separation.amount == pytest.approx(reflection.mean(2).std() / 255, abs=0.002)
    assert tiny.separate(image, strength=0, mask=image).amount == separation.amount


def test_both_layers_are_like_the_input(tiny):
    image = picture("RGBA")
    image.info |= {"icc_profile": icc_profile(), "exif": exif_block(6)}
    for result in tiny.separate(image):
        assert (result.mode, result.size) == ("RGBA", (18, 24))
        assert result.info["icc_profile"] == icc_profile()
        assert result.getexif()[MAKE] == "Testcam"


def test_a_call_is_the_network(tiny):
    x = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    tiny.dereflect(picture("RGB"))  # leaves no inference tensors behind
    got, expected = tiny(x), tiny.network(x)
    assert isinstance(got, Layers)
    assert all(map(torch.equal, got, expected))
    got.transmission.mean().backward()
    assert tiny.network.stem.weight.grad is not None


# unchanged parts stay exactly the same


@pytest.mark.parametrize("kind", ["RGB", "P alpha", "I;16"])
def test_identity(identity, kind):
    """test_fidelity tests all kinds from file to file."""
    image = picture(kind)
    image.info |= {"icc_profile": icc_profile(), "exif": exif_block(8), "note": "mine"}
    before, info = image.tobytes(), dict(image.info)
    result = identity.dereflect(image)
    assert same_pixels(result, ImageOps.exif_transpose(image))
    assert result.info["note"] == "mine"
    assert result.info["icc_profile"] == icc_profile()
    assert (result.getexif()[MAKE], result.getexif()[ORIENTATION]) == ("Testcam", 1)
    assert (image.tobytes(), image.info) == (before, info)  # the input does not change


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["RGB", "I;16"])
def test_identity_in_half_precision(identity, kind, dtype):
    """Half precision may round the change, but not the picture."""
    image = picture(kind)
    assert same_pixels(identity.to(dtype).dereflect(image), image)


def test_half_precision_is_close(tiny):
    image = picture("RGB", (40, 33))
    exact = np.asarray(tiny.dereflect(image)).astype(int)
    half = np.asarray(tiny.to(torch.bfloat16).dereflect(image)).astype(int)
    assert 0 < np.abs(exact - half).mean() < 1


def test_orientation_is_applied_once(identity, tmp_path):
    """For a file opened by Pillow, and for a file opened by derefl."""
    path = tmp_path / "photo.jpg"
    picture("RGB").save(path, exif=exif_block(6))
    with Image.open(path) as file:
        expected = ImageOps.exif_transpose(file)
        assert same_pixels(identity.dereflect(file), expected)
    assert same_pixels(identity.dereflect(open_picture(path)), expected)


# grey, depth, alpha


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_are_really_processed(tiny, monkeypatch, mode):
    """All values fall into one 8-bit level; after halving, 256 different values must remain."""
    pretend(monkeypatch, tiny, lambda x: x * 0.5)
    dtype = {"I;16": "<u2", "I;16B": ">u2", "I": "=i4"}[mode]
    values = np.arange(256).reshape(16, 16) * 2 + 30000
    image = Image.frombytes(mode, (16, 16), values.astype(dtype).tobytes())
    result = tiny.dereflect(image)
    assert result.mode == mode
    assert (np.asarray(result) == values // 2).all()


def test_grey_becomes_its_luminance(tiny):
    image = picture("L", (40, 33))
    colour = np.asarray(tiny.dereflect(image.convert("RGB"))).astype(float)
    grey = np.asarray(tiny.dereflect(image)).astype(float)
    assert np.abs(colour @ [0.299, 0.587, 0.114] - grey).max() <= 1


@pytest.mark.parametrize("kind", ["RGBA", "LA"])
def test_the_network_does_not_see_alpha(tiny, kind):
    image = picture(kind)
    result = tiny.dereflect(image)
    assert result.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    opaque = tiny.dereflect(image.convert(kind[:-1]))
    seen = np.asarray(image.getchannel("A")) > 0  # invisible pixels keep their colour
    assert (np.asarray(result.convert(kind[:-1]))[seen] == np.asarray(opaque)[seen]).all()


def test_lists(tiny):
    images = [picture("RGB", (40, 33)), picture("LA", (20, 17)), picture("I;16", (5, 5))]
    singles = [tiny.dereflect(image) for image in images]
    transmissions = [separation.transmission for separation in tiny.separate(images)]
    for many in (tiny.dereflect(images), tiny.dereflect(tuple(images)), transmissions):
        assert isinstance(many, list) and len(many) == 3
        assert all(map(same_pixels, many, singles))
    assert tiny.dereflect([]) == []
    waiting = iter(images)
    results = tiny.dereflect(waiting)
    assert same_pixels(next(results), singles[0])
    assert next(waiting) is images[1]  # one photo at a time
    assert same_pixels(*results, singles[2])


def test_arrays_paths_and_bytes(tiny, tmp_path):
    photo, path = picture("RGB", (40, 33)), tmp_path / "photo.png"
    photo.save(path)
    expected = tiny.dereflect(photo)
    content = path.read_bytes()
    for one in (path, str(path), content, bytearray(content), memoryview(content)):
        assert same_pixels(tiny.dereflect(one), expected)
    for many in ([path], {str(path)}, tmp_path.glob("*.png"), {content: 0}.keys()):
        (result,) = tiny.dereflect(many)
        assert same_pixels(result, expected)
    array = np.asarray(photo)
    for one, other in zip(tiny.separate(array), tiny.separate(photo), strict=True):
        assert one.dtype == np.uint8 and np.array_equal(one, np.asarray(other))
    deep = deep_picture("RGB;16")
    assert np.array_equal(tiny.dereflect(deep.pixels), tiny.dereflect(deep).pixels)
    for mode in ("L", "I;16"):
        grey = picture(mode, (20, 17))
        result = tiny.dereflect(np.asarray(grey))
        assert result.dtype == np.asarray(grey).dtype
        assert np.array_equal(result, np.asarray(tiny.dereflect(grey)))


def test_strength_and_mask(tiny):
    photo = Image.fromarray(np.random.default_rng(0).integers(60, 190, (33, 40, 3), np.uint8))
    before, after = (np.asarray(x, float) for x in (photo, tiny.dereflect(photo)))
    assert np.abs(after - before).mean() > 10
    inside = (after > 0) & (after < 255)  # elsewhere the result is clipped

    def is_half(result, where):
        error = np.abs(np.asarray(result, float) - (before + after) / 2)
        return error[where & inside].max() <= 1

    assert same_pixels(tiny.dereflect(photo, strength=0), photo)
    assert is_half(tiny.dereflect(photo, strength=0.5), inside)
    mask = np.zeros((33, 40), np.uint8)
    mask[:, 10:], mask[:, 30:] = 128, 255
    masked = np.asarray(tiny.dereflect(photo, mask=mask), float)
    assert np.array_equal(masked[:, :10], before[:, :10])
    assert np.array_equal(masked[:, 30:], after[:, 30:])
    assert is_half(masked, (mask == 128)[..., None])
    painted = Image.new("RGBA", photo.size, "white")
    painted.putalpha(Image.fromarray(mask))
    assert np.array_equal(np.asarray(tiny.dereflect(photo, mask=painted)), masked)
    clear = np.asarray(tiny.dereflect(photo, mask=mask == 255))
    assert np.array_equal(clear[:, :30], before[:, :30])
    assert np.array_equal(clear[:, 30:], after[:, 30:])


def test_invalid_strengths_and_masks_are_refused(tiny):
    photo = picture("RGB", (40, 33))
    for strength in (-0.1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="expected a number from 0 to 1"):
            tiny.dereflect(iter([photo]), strength=strength)  # at once, not with the first photo
    with pytest.raises(ImageError, match=r"mask of 33×40 pixels, expected .*40×33"):
        tiny.separate(photo, mask=picture("L", (33, 40)))


# errors


@pytest.mark.parametrize(
    ("thing", "hint"),
    [
        ("window.jpg", r"window\.jpg"),
        (np.zeros((4, 4, 3)), r"array of float64 \[4, 4, 3\], expected uint8 or uint16"),
        (np.zeros((4, 4, 2), np.uint8), r"expected uint8 or uint16 of shape"),
        (b"bytes", "the data is not a picture that derefl can read"),
        (io.BytesIO(), "got a BytesIO, expected a picture"),
        (torch.zeros(1, 3, 16, 16), r"model\(x\)"),
        (None, r"Image\.open"),
    ],
)
def test_other_types_are_refused(tiny, thing, hint):
    for call in (tiny.dereflect, tiny.separate):
        with pytest.raises(ImageError, match=hint):
            call(thing)
        with pytest.raises(ImageError, match=hint):
            call([picture("RGB"), thing])


def test_truncated_pictures_are_refused(tiny, tmp_path):
    buffer = io.BytesIO()
    picture("RGB", (200, 200)).save(buffer, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[:-3000])
    with (
        Image.open(tmp_path / "cut.jpg") as image,
        pytest.raises(ImageError, match=r"cut\.jpg is damaged or cut short"),
    ):
        tiny.dereflect(image)


def test_overflow_is_an_error_not_a_black_picture(tiny, monkeypatch):
    pretend(monkeypatch, tiny, lambda x: x / 0)
    with pytest.raises(ImageError, match=r"overflowed in torch\.float32.*24×18"):
        tiny.dereflect(picture("RGB"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 32, 32), r"shape \[3, 32, 32\], expected \[b, 3, h, w\]"),
        (torch.zeros(1, 4, 32, 32), r"shape \[1, 4, 32, 32\]"),
        (torch.zeros(0, 3, 32, 32), r"shape \[0, 3, 32, 32\].*b of at least 1"),
        (torch.zeros(1, 3, 15, 32), r"h and w of at least 16.*dereflect\(image\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), r"torch\.uint8, expected floats.*x / 255"),
        (torch.zeros(1, 3, 32, 32).double(), r"float64 on cpu, expected torch\.float32"),
        (torch.full((1, 3, 32, 32), 255.0), r"from 255 to 255.*divide 8-bit values by 255"),
        (torch.full((1, 3, 32, 32), -1.0), r"from -1 to -1"),
        (np.zeros((1, 3, 32, 32), np.float32), r"got a ndarray, expected a float tensor"),
    ],
)
def test_other_tensors_are_refused(tiny, x, message):
    with pytest.raises(ImageError, match=message) as error:
        tiny(x)
    assert "\n" not in str(error.value)


def test_values_outside_the_range(tiny):
    x = torch.rand(2, 3, 32, 32) * 1.04 - 0.02  # bicubic resizing overshoots: not an error
    assert tiny(x).transmission.isfinite().all()
    for value in (float("nan"), float("inf"), -float("inf"), 2.0):
        bad = x.clone()
        bad[1, 2, 5, 7] = value
        with pytest.raises(ImageError, match="expected sRGB in"):
            tiny(bad)


# loading and saving


def test_a_saved_remover_loads_again(tiny, tmp_path):
    tiny.save(tmp_path / "tiny.safetensors")
    model = load_derefl(tmp_path / "tiny.safetensors")
    assert type(model) is ReflectionRemover and not model.network.training
    assert model.config == tiny.config
    weights, saved = model.network.state_dict(), tiny.network.state_dict()
    torch.testing.assert_close(weights, saved, rtol=0, atol=0)
    half = load_derefl(tmp_path / "tiny.safetensors", dtype=torch.bfloat16, device="cpu")
    assert {p.dtype for p in half.network.parameters()} == {torch.bfloat16}
    assert half.dereflect(picture("RGB")).size == (24, 18)
    with pytest.raises(ConfigError):
        load_derefl(tmp_path / "tiny.safetensors", device="nonsense")


def test_files_from_before_mean_and_std_load(tiny, tmp_path):
    config = asdict(TINY)
    del config["mean"], config["std"]
    save_checkpoint(tiny.network, tmp_path / "old.safetensors", kind="derefl", config=config)
    assert load_derefl(tmp_path / "old.safetensors").config == TINY


def test_a_file_with_a_plus_in_its_name_loads(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.save("a+b.safetensors")
    assert isinstance(load_derefl("a+b.safetensors").network, DeRefl)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("derefl-huge", "derefl-huge.*derefl-base"),
        *(
            (path, f"no file or folder {re.escape(path)}, ")
            for path in ("gone.safetensors", "runs/c++/m.safetensors", "~x+y/m")
        ),
    ],
)
def test_a_missing_source_is_named(source, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match=words):
        load_derefl(source)


def test_other_models_are_refused(tiny, tmp_path):
    path = tmp_path / "other.safetensors"
    save_checkpoint(tiny.network, path, kind="lcdh-student", config=asdict(tiny.config))
    with pytest.raises(CheckpointError, match="lcdh-student"):
        load_derefl(path)
    save_checkpoint(tiny.network, path, kind="derefl", config={"colour": "blue"})
    with pytest.raises(CheckpointError, match="colour"):
        load_derefl(path)


def test_public_names():
    assert derefl.load_derefl is load_derefl
    assert set(derefl.__all__) <= set(dir(derefl))
    assert all(getattr(derefl, name) is not None for name in derefl.__all__)
    assert "derefl-base" in str(inspect.signature(load_derefl))
    with pytest.raises(AttributeError, match="no attribute 'dereflect'"):
        _ = derefl.dereflect
