"""Parts of a picture that the network does not change are the same in the written file.

Each row of the table in docs/pictures.md is tested from file to file, with a network that returns
its input. Pillow, pypng or tifffile, not derefl, read both files.
"""

import io
from pathlib import Path

import numpy as np
import pillow_heif
import png
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from derefl.imaging.files import open_picture, save_picture
from derefl.imaging.sixteen_bit import SixteenBitPicture
from derefl.imaging.tensors import to_tensor
from derefl.reflection.model import Layers
from tests.pictures import (
    EXIF_IFD,
    KINDS,
    MAKE,
    MAKER_NOTE,
    ORIENTATION,
    SPACES,
    deep_picture,
    exif_block,
    icc_profile,
    picture,
    same_pixels,
    wide_profile,
)
from tests.tiny import first_remover

CARRIED = {"exif": exif_block(1), "icc_profile": icc_profile()}
RE_ENCODING = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "exact": True},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
}


@pytest.fixture
def through(monkeypatch, tmp_path):
    """A file after ``derefl`` with a network that returns its input."""
    model = first_remover()
    monkeypatch.setattr(model.network, "forward", lambda x: Layers(x, x * 0, x * 0))

    def go(path: Path) -> Path:
        result = tmp_path / "out" / path.name
        save_picture(model.dereflect(open_picture(path)), result)
        assert list(result.parent.iterdir()) == [result]
        return result

    return go


def read(path: Path) -> Image.Image:
    """Read with Pillow, upright."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image)


def check_carried(path: Path, profile: bytes = CARRIED["icc_profile"]) -> None:
    with Image.open(path) as image:
        exif = image.getexif()
        assert exif.get(ORIENTATION, 1) == 1
        assert exif[MAKE] == "Testcam"
        assert exif.get_ifd(EXIF_IFD)[0x927C] == MAKER_NOTE
        assert image.info["icc_profile"] == profile


def format_of(path: Path) -> str | None:
    with Image.open(path) as image:
        return image.format


# lossless formats

PNG_KINDS = [kind for kind in KINDS if kind not in ("CMYK", "I", "I;16B")]
TIFF_KINDS = [kind for kind in KINDS if kind not in ("I",) and " " not in kind]


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [(k, ".png") for k in PNG_KINDS]
    + [(k, ".tif") for k in TIFF_KINDS]
    + [("RGB", ".webp"), ("RGBA", ".webp")],
)
def test_lossless(through, tmp_path, kind, suffix):
    image = picture(kind)
    if "A" in kind:
        image.paste((17, 99, 3, 0)[-len(image.getbands()) :], (2, 2, 8, 8))
    path = tmp_path / f"in{suffix}"
    transparency = {k: v for k, v in image.info.items() if k == "transparency"}
    lossless = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    image.save(path, **CARRIED, **transparency, **lossless)
    result = through(path)
    before, after = read(path), read(result)
    if kind.startswith("I;16"):  # in a TIFF, either byte order
        assert {before.mode, after.mode} <= {"I;16", "I;16B"}
        assert (np.asarray(before) == np.asarray(after)).all()
    else:
        assert same_pixels(before, after)
    assert format_of(path) == format_of(result)
    assert before.info.get("transparency") == after.info.get("transparency") or kind[0] == "P"
    check_carried(result)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("kind", ["LA;16", "RGB;16", "RGBA;16", "RGB;16 transparent colour"])
def test_png_of_16_bits(through, tmp_path, kind, interlace):
    image = deep_picture(kind)
    path = tmp_path / "in.png"
    writer = png.Writer(
        *image.size,
        bitdepth=16,
        greyscale="LA" in kind,
        alpha="A" in kind,
        interlace=interlace,
        transparent=image.info.get("transparency"),
    )
    with path.open("wb") as file:
        writer.write(file, image.pixels.reshape(image.height, -1).tolist())
    result = through(path)
    for written in (path, result):
        with written.open("rb") as file:
            width, height, rows, meta = png.Reader(file=file).read()
            pixels = np.array([list(row) for row in rows]).reshape(height, width, -1)
        assert meta["bitdepth"] == 16
        assert (pixels == image.pixels).all()
        assert meta.get("transparent") == image.info.get("transparency")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"tile": (16, 16)},
        {"compression": "zlib", "predictor": True},
        {"compression": "zlib", "rowsperstrip": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["RGB;16", "RGBA;16"])
def test_tiff_of_16_bits(through, tmp_path, kind, how, order):
    image = deep_picture(kind)
    path = tmp_path / "in.tif"
    extra = {"extrasamples": ["unassalpha"]} if "A" in kind else {}
    tags = [(MAKE, "s", 0, "Testcam", True)]
    tifffile.imwrite(
        path,
        image.pixels,
        photometric="rgb",
        byteorder=order,
        iccprofile=wide_profile("Adobe RGB"),
        resolution=(300, 300),
        extratags=tags,
        **how,
        **extra,
    )
    result = through(path)
    assert (tifffile.imread(path) == image.pixels).all()
    with tifffile.TiffFile(result) as file:
        page = file.pages[0]
        assert (page.asarray() == image.pixels).all()
        assert page.tags["InterColorProfile"].value == wide_profile("Adobe RGB")
        assert page.tags["XResolution"].value == (300, 1)
        assert page.tags[MAKE].value == "Testcam"
        assert [int(kind) for kind in page.extrasamples] == ([2] if "A" in kind else [])


def turned(image: SixteenBitPicture, orientation: int) -> np.ndarray:
    """The second channel, turned by Pillow."""
    flat = Image.frombytes("I;16", image.size, image.pixels[..., 1].astype("<u2").tobytes())
    flat.info["exif"] = exif_block(orientation)
    return np.asarray(ImageOps.exif_transpose(flat))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_are_turned_and_carry_what_they_carried(through, tmp_path, orientation, suffix):
    image = deep_picture("RGB;16", (7, 5))
    expected = turned(image, orientation)
    path = tmp_path / f"in{suffix}"
    if suffix == ".tif":
        tags = [(ORIENTATION, "H", 1, orientation, True)]
        tifffile.imwrite(path, image.pixels, photometric="rgb", extratags=tags)
    else:
        image.info.update(CARRIED | {"exif": exif_block(orientation), "dpi": (300, 300)})
        image.info["xmp"] = f'<x tiff:Orientation="{orientation}">hello</x>'.encode()
        save_picture(image, path)
    back = open_picture(result := through(path))
    assert isinstance(back, SixteenBitPicture)
    assert (back.pixels[..., 1] == expected).all()
    if suffix == ".png":
        check_carried(result)
        assert back.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert b'Orientation="1">hello' in back.info["xmp"]


def test_16_bits_are_really_processed(tiny, monkeypatch, tmp_path):
    """All values fall into one 8-bit level; after halving, 256 different values must remain."""
    monkeypatch.setattr(tiny.network, "forward", lambda x: Layers(x * 0.5, x, x))
    values = (np.arange(256, dtype=np.uint16) * 2 + 30000).reshape(16, 16, 1).repeat(3, axis=2)
    save_picture(tiny.dereflect(SixteenBitPicture(values)), tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        rows = png.Reader(file=file).read()[2]
        assert (np.array([list(row) for row in rows]) == (values // 2).reshape(16, -1)).all()


def test_tiff_with_alpha_multiplied_in(tmp_path):
    """The output stores alpha separately; its values cover only half of the range."""
    pixels = deep_picture("RGBA;16").pixels
    pixels[..., 3] = 32768
    stored = pixels.copy()
    stored[..., :3] //= 2
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    back = open_picture(tmp_path / "a.tif")
    assert isinstance(back, SixteenBitPicture)
    assert (back.pixels[..., 3] == 32768).all()
    assert np.abs(back.pixels[..., :3].astype(int) - pixels[..., :3]).max() <= 2


def test_colours_of_a_png_without_profile_are_kept(through, tmp_path):
    from PIL import PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", (45455).to_bytes(4, "big"))
    numbers = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    chunks.add(b"cHRM", b"".join(n.to_bytes(4, "big") for n in numbers))
    picture("RGB").save(tmp_path / "in.png", pnginfo=chunks)
    info = read(through(tmp_path / "in.png")).info
    assert info["gamma"] == 0.45455
    assert info["chromaticity"] == tuple(n / 100_000 for n in numbers)


# lossy formats: no more loss than by one more encoding


def again(image: Image.Image, name: str) -> Image.Image:
    """Decoded after one more encoding, by Pillow alone."""
    buffer = io.BytesIO()
    image.save(buffer, name, **RE_ENCODING[name])
    return Image.open(buffer)


@pytest.mark.parametrize(
    ("kind", "name", "orientation"),
    [("RGB", "JPEG", orientation) for orientation in range(1, 9)]
    + [("L", "JPEG", 1), ("CMYK", "JPEG", 1), ("L", "WEBP", 1), ("RGB", "WEBP", 6)]
    + [("RGBA", "WEBP", 1), ("L", "AVIF", 1), ("RGB", "AVIF", 1)],
)
def test_lossy(through, tmp_path, kind, name, orientation):
    path = tmp_path / f"in.{name.lower()}"
    exif = exif_block(orientation)
    picture(kind, (40, 32)).resize((24, 16)).save(path, **CARRIED | {"exif": exif})
    result = through(path)
    before, after = read(path), read(result)
    assert same_pixels(after, again(before, name))
    assert format_of(result) == name
    if kind == "RGBA":
        assert after.getchannel("A").tobytes() == before.getchannel("A").tobytes()
    check_carried(result)


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic(through, tmp_path, orientation):
    path = tmp_path / "in.heic"
    photo = picture("RGB", (40, 32)).resize((20, 16))
    pillow_heif.from_pillow(photo).save(
        path, quality=90, exif=exif_block(orientation), icc_profile=icc_profile()
    )
    before = pillow_heif.open_heif(path).to_pillow()
    again = io.BytesIO()
    pillow_heif.from_pillow(before).save(again, quality=90, subsampling="4:2:0")
    after = pillow_heif.open_heif(through(path))
    assert same_pixels(after.to_pillow(), pillow_heif.open_heif(again).to_pillow())
    exif = Image.Exif()
    exif.load(after.info["exif"])
    assert (exif[MAKE], exif.get(ORIENTATION, 1)) == ("Testcam", 1)
    assert after.info["icc_profile"] == icc_profile()


# colour


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_wide_colours_are_not_shifted(through, tmp_path, space, suffix):
    path = tmp_path / f"in{suffix}"
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    colours = np.stack(np.meshgrid(ramp, ramp), axis=-1)
    image = Image.fromarray(np.dstack([colours, colours[::-1, :, :1]]))
    image.save(path, icc_profile=wide_profile(space), exif=exif_block(1), quality=95)
    result = through(path)
    check_carried(result, wide_profile(space))
    seen = [np.asarray(as_seen(read(p))).astype(int) for p in (path, result)]
    assert np.abs(seen[0] - seen[1]).mean() <= (2 if suffix in (".jpg", ".webp") else 0)
    assert np.abs(seen[1] - np.asarray(read(result))).mean() > 5  # the profile has an effect


def as_seen(image: Image.Image) -> Image.Image:
    """The colours on a colour-managed screen, in sRGB."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    srgb = ImageCms.createProfile("sRGB")
    result = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
    assert result is not None
    return result


def test_pixels_are_processed_in_the_encoding_of_the_picture(tmp_path):
    """Not converted to sRGB and back: this would round twice and clip colours outside sRGB."""
    image = picture("RGB")
    image.save(tmp_path / "a.png", icc_profile=wide_profile("Display P3"))
    assert (to_tensor(open_picture(tmp_path / "a.png")) == to_tensor(image)).all()


# sizes


@pytest.mark.parametrize("size", [(1, 1), (3, 5000), (16, 16)])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", ".16.png", ".16.tif"])
def test_sizes(through, tmp_path, size, suffix):
    path = tmp_path / f"in{suffix}"
    image = deep_picture("RGB;16", size) if ".16" in suffix else picture("RGB", size)
    options = {"lossless": True} if suffix == ".webp" else {}
    if isinstance(image, SixteenBitPicture):
        save_picture(image, path)
    else:
        image.save(path, **options)
    before, after = open_picture(path), open_picture(through(path))
    assert after.size == size
    if suffix == ".jpg":
        assert same_pixels(after, again(read(path), "JPEG"))
    else:
        assert same_pixels(after, before)
        assert same_pixels(after, image)
