import copy
import inspect
import io
import re
import subprocess
import sys
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
from derefl.reflection.remover import Ensemble, ReflectionRemover, load_derefl
from derefl.zoo import save_checkpoint
from tests.conftest import TINY
from tests.pictures import (
    MAKE,
    ORIENTATION,
    exif_block,
    icc_profile,
    picture,
    same_pixels,
)


@pytest.fixture
def remover(tiny) -> ReflectionRemover:
    """The tiny network."""
    return copy.deepcopy(tiny)


def pretend(monkeypatch, model, function):
    """Make the network return ``function`` of its input."""
    monkeypatch.setattr(model, "forward", lambda x: Layers(function(x), x * 0, x * 0))


@pytest.fixture
def identity(remover, monkeypatch):
    pretend(monkeypatch, remover, lambda x: x)
    return remover


# the output of the network is in the result


def test_dereflect_is_the_network(remover):
    image = picture("RGB", (40, 33))
    with torch.no_grad():
        expected = remover(to_tensor(image)).transmission
    array = (expected[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255).round()
    result = np.asarray(remover.dereflect(image)).astype(int)
    assert np.abs(result - array).max() <= 1  # ties may round in the other direction
    assert (result != array).mean() < 0.001
    assert np.abs(result - np.asarray(image)).mean() > 2  # and the picture changes


def test_separate_adds_up(remover):
    image = picture("RGB", (40, 33))
    separation = remover.separate(image)
    assert same_pixels(separation.transmission, remover.dereflect(image))
    removed = np.asarray(image).astype(int) - np.asarray(separation.transmission)
    reflection = np.asarray(separation.reflection).astype(int)
    assert np.abs(reflection - removed.clip(0)).max() <= 1
    assert reflection.max() > 5
    assert (removed < 0).any()  # brightened pixels: black in the reflection
    assert separation._fields == ("transmission", "reflection")


def test_reflection_is_like_the_input(remover):
    image = picture("RGBA")
    image.info |= {"icc_profile": icc_profile(), "exif": exif_block(6)}
    for result in remover.separate(image):
        assert (result.mode, result.size) == ("RGBA", (18, 24))
        assert result.info["icc_profile"] == icc_profile()
        assert result.getexif()[MAKE] == "Testcam"


def test_call_is_the_plain_network(remover):
    x = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got, expected = remover(x), DeRefl.forward(remover, x)
    assert isinstance(got, Layers)
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)


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
    assert (image.tobytes(), image.info) == (before, info)  # the input is not touched


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["RGB", "I;16"])
def test_identity_in_half_precision(identity, kind, dtype):
    """Half precision may round the change, but not the picture."""
    image = picture(kind)
    assert same_pixels(identity.to(dtype).dereflect(image), image)


def test_half_precision_is_close(remover):
    image = picture("RGB", (40, 33))
    exact = np.asarray(remover.dereflect(image)).astype(int)
    half = np.asarray(remover.to(torch.bfloat16).dereflect(image)).astype(int)
    assert 0 < np.abs(exact - half).mean() < 1


def test_orientation_is_applied_once(identity, tmp_path):
    """For a file opened by Pillow, as for a file opened by derefl."""
    path = tmp_path / "photo.jpg"
    picture("RGB").save(path, exif=exif_block(6))
    with Image.open(path) as file:
        expected = ImageOps.exif_transpose(file)
        assert same_pixels(identity.dereflect(file), expected)
    assert same_pixels(identity.dereflect(open_picture(path)), expected)


# grey, depth, palettes


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_are_really_processed(remover, monkeypatch, mode):
    """All values fall into one 8-bit level; after halving, 256 different values must remain."""
    pretend(monkeypatch, remover, lambda x: x * 0.5)
    dtype = {"I;16": "<u2", "I;16B": ">u2", "I": "=i4"}[mode]
    values = np.arange(256).reshape(16, 16) * 2 + 30000
    image = Image.frombytes(mode, (16, 16), values.astype(dtype).tobytes())
    result = remover.dereflect(image)
    assert result.mode == mode
    assert (np.asarray(result) == values // 2).all()


def test_grey_sees_its_luminance(remover):
    image = picture("L", (40, 33))
    colour = np.asarray(remover.dereflect(image.convert("RGB"))).astype(float)
    grey = np.asarray(remover.dereflect(image)).astype(float)
    assert np.abs(colour @ [0.299, 0.587, 0.114] - grey).max() <= 1


@pytest.mark.parametrize("kind", ["RGBA", "LA"])
def test_alpha_is_not_seen_by_the_network(remover, kind):
    image = picture(kind)
    result = remover.dereflect(image)
    assert result.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    opaque = remover.dereflect(image.convert(kind[:-1]))
    seen = np.asarray(image.getchannel("A")) > 0  # invisible pixels keep their colour
    assert (np.asarray(result.convert(kind[:-1]))[seen] == np.asarray(opaque)[seen]).all()


# sizes


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 3), (15, 15), (16, 16), (17, 15), (33, 70)])
def test_any_size(remover, size):
    image = picture("RGB", size)
    result = remover.dereflect(image)
    assert result.size == size
    array = np.asarray(image)
    padding = ((0, max(0, 16 - size[1])), (0, max(0, 16 - size[0])), (0, 0))
    padded = Image.fromarray(np.pad(array, padding, mode="edge"))
    with torch.no_grad():
        expected = remover(to_tensor(padded)).transmission[:, :, : size[1], : size[0]]
    expected = from_tensor(expected, image)
    difference = np.abs(np.asarray(result).astype(int) - np.asarray(expected))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_large_pictures_are_looked_at_in_two_sizes(remover, monkeypatch):
    """The change is the mean of both sizes; the half size has half the pixels per side."""
    sizes = []

    def look(x):
        sizes.append(tuple(x.shape[2:]))
        return x + (0.1 if len(sizes) == 1 else 0.3)

    pretend(monkeypatch, remover, look)
    x = torch.rand(1, 3, 200, 151) / 2
    torch.testing.assert_close(remover.transmission(x), x + 0.2)
    assert sizes == [(200, 151), (100, 75)]
    sizes.clear()
    remover.transmission(x[:, :, :127])
    assert sizes == [(127, 151)]


# lists


def test_lists(remover):
    images = [picture("RGB", (40, 33)), picture("LA", (20, 17)), picture("I;16", (5, 5))]
    singles = [remover.dereflect(image) for image in images]
    for many in (remover.dereflect(images), remover.dereflect(tuple(images))):
        assert isinstance(many, list)
        assert all(map(same_pixels, many, singles))
        assert len(many) == 3
    transmissions = [separation.transmission for separation in remover.separate(images)]
    assert len(transmissions) == 3
    assert all(map(same_pixels, transmissions, singles))
    assert remover.dereflect([]) == []


def test_no_gradients_and_no_inference_tensors_left_behind(remover):
    remover.dereflect(picture("RGB"))
    loss = remover(torch.rand(1, 3, 16, 16)).transmission.mean()
    loss.backward()
    assert remover.stem.weight.grad is not None


# errors


@pytest.mark.parametrize(
    ("thing", "hint"),
    [
        ("window.jpg", r"Image\.open\('window\.jpg'\)"),
        (np.zeros((4, 4, 3), np.uint8), r"Image\.fromarray\(array\)"),
        (torch.zeros(1, 3, 16, 16), r"model\(x\)"),
        (None, r"Image\.open"),
    ],
)
def test_what_is_no_picture_is_refused(remover, thing, hint):
    for call in (remover.dereflect, remover.separate):
        with pytest.raises(ImageError, match=rf"got a {type(thing).__name__}.*{hint}"):
            call(thing)
        with pytest.raises(ImageError, match=hint):
            call([picture("RGB"), thing])


def test_truncated_pictures_are_refused(remover, tmp_path):
    buffer = io.BytesIO()
    picture("RGB", (200, 200)).save(buffer, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[:-3000])
    with (
        Image.open(tmp_path / "cut.jpg") as image,
        pytest.raises(ImageError, match=r"cut\.jpg is damaged or cut short"),
    ):
        remover.dereflect(image)


def test_overflow_is_an_error_not_a_black_picture(remover, monkeypatch):
    pretend(monkeypatch, remover, lambda x: x / 0)
    with pytest.raises(ImageError, match=r"overflowed in torch\.float32.*24×18"):
        remover.dereflect(picture("RGB"))


# loading


@pytest.fixture
def checkpoint(remover, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(
        remover, path, kind="derefl", config=asdict(remover.config), dtype=torch.float32
    )
    return path


def test_load_derefl(checkpoint, remover):
    model = load_derefl(checkpoint)
    assert type(model) is ReflectionRemover
    assert not model.training
    assert model.config == remover.config
    image = picture("RGB")
    assert same_pixels(model.dereflect(image), remover.dereflect(image))


def shifted(by: float) -> ReflectionRemover:
    """A tiny network with random weights that brightens by ``by``."""
    torch.manual_seed(round(100 * by))
    model = ReflectionRemover(TINY).eval()
    model.last_t.project.bias.data.fill_(-by)
    return model


def test_together_is_the_mean_of_what_each_sees():
    both = [shifted(0.1), shifted(0.3)]
    x = torch.rand(2, 3, 40, 33)
    with torch.inference_mode():
        seen, apart = Ensemble(both)(x), [model(x) for model in both]
        for layer, a, b in zip(seen, *apart, strict=True):
            assert torch.allclose(layer, (a + b) / 2, atol=1e-6)
        assert (seen.transmission - x).mean() == pytest.approx(0.2, abs=0.01)
        change = Ensemble(both).transmission(x) - x  # in two sizes, as in the pipeline
    assert change.mean() == pytest.approx(0.2, abs=0.01)


def test_load_derefl_loads_several_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    both = [shifted(0.1), shifted(0.3)]
    for name, model in zip("ab", both, strict=True):
        save_checkpoint(model, tmp_path / f"{name}.safetensors", kind="derefl", config=asdict(TINY))
    model = load_derefl("a.safetensors+b.safetensors", dtype="float32")
    assert isinstance(model, Ensemble) and not model.training
    image = picture("RGB")
    expected = Ensemble(both).dereflect(image)
    difference = np.asarray(model.dereflect(image)).astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= 1  # saved in half precision
    assert not same_pixels(model.dereflect(image), load_derefl("a.safetensors").dereflect(image))


def test_load_derefl_takes_a_file_with_a_plus_for_itself(checkpoint, monkeypatch):
    checkpoint.rename(checkpoint.parent / "a+b.safetensors")
    monkeypatch.chdir(checkpoint.parent)
    assert type(load_derefl("a+b.safetensors")) is ReflectionRemover


@pytest.mark.parametrize("source", ["derefl-small+", "+derefl-small", "derefl-small++derefl-base"])
def test_load_derefl_refuses_a_plus_with_nothing_beside_it(source):
    with pytest.raises(ModelNotFoundError, match=r"both sides of each '\+'"):
        load_derefl(source)


@pytest.mark.parametrize(
    "source", ["runs/c++/m.safetensors", "runs/c+d", "c++.safetensors", "a+b.safetensors", "~x+y/m"]
)
def test_load_derefl_names_a_missing_file_with_a_plus(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match=f"no file or folder {re.escape(source)}, "):
        load_derefl(source)


def test_load_derefl_names_the_one_that_is_missing():
    with pytest.raises(ModelNotFoundError, match=r"derefl-huge.*derefl-small"):
        load_derefl("derefl-small+derefl-huge")
    with pytest.raises(ModelNotFoundError, match=r"no file or folder gone\.safetensors"):
        load_derefl("derefl-small+gone.safetensors")


def test_load_derefl_in_half_precision_on_a_device(checkpoint):
    model = load_derefl(checkpoint, dtype=torch.bfloat16, device="cpu")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.dereflect(picture("RGB")).size == (24, 18)
    with pytest.raises(ConfigError):
        load_derefl(checkpoint, device="nonsense")


def test_load_derefl_refuses_other_models(remover, tmp_path):
    path = tmp_path / "other.safetensors"
    save_checkpoint(remover, path, kind="lcdh-student", config=asdict(remover.config))
    with pytest.raises(CheckpointError, match="lcdh-student"):
        load_derefl(path)
    save_checkpoint(remover, path, kind="derefl", config={"colour": "blue"})
    with pytest.raises(CheckpointError, match="colour"):
        load_derefl(path)


def test_public_names():
    assert derefl.load_derefl is load_derefl
    assert set(derefl.__all__) <= set(dir(derefl))
    assert all(getattr(derefl, name) is not None for name in derefl.__all__)
    assert "derefl-small" in str(inspect.signature(load_derefl))
    with pytest.raises(AttributeError, match="no attribute 'dereflect'"):
        _ = derefl.dereflect


def test_importing_derefl_imports_nothing_heavy():
    code = "import sys, derefl; print(sorted({'torch', 'timm', 'PIL', 'numpy'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
