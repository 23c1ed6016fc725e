import io
import struct

import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image, ImageOps

from derefl.errors import ConfigError, ImageError, MissingExtraError
from derefl.imaging import formats
from derefl.imaging.exif import upright_exif
from derefl.imaging.files import check_picture, open_picture, save_picture
from derefl.imaging.formats import FORMATS
from derefl.imaging.metadata import upright
from derefl.imaging.opening import open_file, open_undecoded
from derefl.imaging.palette import quantise
from derefl.imaging.sixteen_bit import SixteenBitPicture
from derefl.imaging.tensors import from_tensor, to_rgb, to_tensor
from tests.pictures import (
    EXIF_IFD,
    GPS_IFD,
    KINDS,
    MAKE,
    MAKER_NOTE,
    ORIENTATION,
    deep_picture,
    exif_block,
    icc_profile,
    picture,
    same_pixels,
)

# tensors


RAMP = np.arange(65536)
INKS = np.stack(np.meshgrid(*[np.array([0, 1, 127, 254, 255])] * 4), axis=-1)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.stack([RAMP, RAMP[::-1], RAMP * 99], -1)[None, :256].astype(np.uint8)),
        Image.frombytes("I;16", (256, 256), RAMP.astype("<u2").tobytes()),
        Image.frombytes("I;16B", (256, 256), RAMP.astype(">u2").tobytes()),
        Image.frombytes("I", (256, 256), RAMP.astype("=i4").tobytes()),
        Image.frombytes("CMYK", (25, 25), INKS.astype(np.uint8).tobytes()),
    ],
    ids=lambda image: image.mode,
)
def test_every_value_survives(image):
    assert same_pixels(from_tensor(to_tensor(image), image), image)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (255, 51, 0), [1, 0.2, 0]),
        ("I;16", 13107, [0.2] * 3),
        ("1", 1, [1, 1, 1]),
        ("CMYK", (0, 51, 255, 51), [0.8, 0.64, 0]),
    ],
)
def test_to_tensor_values(mode, colour, expected):
    values = to_tensor(Image.new(mode, (1, 1), colour)).flatten().tolist()
    assert values == pytest.approx(expected, abs=1e-6)


def test_from_tensor_rounds_clips_and_weighs():
    colour = torch.tensor([1.7, 0.5, -0.3]).reshape(1, 3, 1, 1)
    assert from_tensor(colour, Image.new("RGB", (1, 1))).getpixel((0, 0)) == (255, 128, 0)
    grey = 0.299 + 0.587 * 0.5
    assert from_tensor(colour, Image.new("L", (1, 1))).getpixel((0, 0)) == round(grey * 255)
    assert from_tensor(colour, Image.new("I;16", (1, 1))).getpixel((0, 0)) == round(grey * 65535)
    assert from_tensor(colour, Image.new("1", (1, 1))).getpixel((0, 0)) == 255
    assert from_tensor(colour / 2, Image.new("1", (1, 1), 1)).getpixel((0, 0)) == 0


DEEP_KINDS = ["LA;16", "RGB;16", "RGBA;16", "RGB;16 transparent colour"]


def pixels_of(image):
    """The pixels ``[h w c]``."""
    return image.pixels if isinstance(image, SixteenBitPicture) else np.atleast_3d(image)


@pytest.mark.parametrize("kind", [k for k in KINDS if k[0] not in "1P"] + DEEP_KINDS)
def test_changed_colours_keep_alpha_and_depth(kind):
    image = deep_picture(kind) if kind in DEEP_KINDS else picture(kind)
    darker = to_tensor(image) * 0.6 + 0.1
    result = from_tensor(darker, image)
    assert (result.mode, result.size, result.info) == (image.mode, image.size, image.info)
    before, after = pixels_of(image), pixels_of(result)
    expected = darker if before.shape[2] > 2 else darker.mean(1, keepdim=True).expand_as(darker)
    hidden = np.zeros(before.shape[:2], bool)
    if "A" in kind:
        hidden = before[..., -1] == 0
        assert (after[..., -1] == before[..., -1]).all()
    elif "transparent" in kind:
        hidden, now = ((p == image.info["transparency"]).all(-1) for p in (before, after))
        assert (hidden == now).all()
    assert hidden.any() or not image.has_transparency_data
    assert (after[hidden] == before[hidden]).all()
    difference = (to_tensor(result) - expected).abs().amax(dim=1)[0][~torch.from_numpy(hidden)]
    assert difference.max() <= 1.51 / (255 if before.dtype == np.uint8 else 65535)


def test_no_visible_pixel_becomes_transparent():
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (50, 60, 70))
    image.info["transparency"] = (10, 20, 30)
    both = torch.tensor([10, 20, 30]).reshape(1, 3, 1, 1).expand(1, 3, 1, 2) / 255
    result = from_tensor(both, image)
    assert result.getpixel((0, 0)) == (10, 20, 30)
    assert result.getpixel((1, 0)) == (11, 21, 31)


def test_changed_cmyk_keeps_its_black():
    image = Image.new("CMYK", (1, 1), (0, 0, 0, 100))
    result = from_tensor(to_tensor(image) * torch.tensor([1, 0.9, 0.8]).reshape(1, 3, 1, 1), image)
    assert result.getpixel((0, 0)) == (0, 26, 51, 100)


@pytest.mark.parametrize("kind", ["P", "P one transparent", "P alpha"])
def test_changed_palette(kind):
    image = picture(kind, (64, 64))
    result = from_tensor(to_tensor(image) * 0.5, image)
    before, after = np.asarray(image.convert("RGBA")), np.asarray(result.convert("RGBA"))
    assert result.mode == "P"
    assert (after[..., 3] == before[..., 3]).all()
    seen = before[..., 3] > 0
    assert np.abs(after[..., :3] - before[..., :3] / 2)[seen].max() <= 0.5  # ≤ 256 colours: exact


def test_palette_spends_nothing_on_what_is_not_seen():
    image = picture("P", (64, 64))
    index = np.asarray(image).copy()
    index[:32] = 7
    image = Image.frombytes("P", (64, 64), index.tobytes())
    image.putpalette(picture("P").getpalette())
    image.info["transparency"] = 7
    new = to_tensor(image)
    new[:, :, :32] = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    assert same_pixels(from_tensor(new, image), image)


def test_unused_transparent_index_does_not_come_back():
    image = Image.new("P", (4, 4), 3)
    image.putpalette(bytes(range(12)))
    image.info |= {"transparency": 0, "background": 2, "note": "mine"}
    assert from_tensor(to_tensor(image), image).info == {"note": "mine"}


def test_palette_of_too_many_colours_keeps_alpha():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:100, :100]
    pixels = np.stack([x * 2, y * 2, x + y, 255 * (x > 20)], axis=-1).astype(np.uint8)
    pixels[..., 3] -= (rng.random((100, 100)) < 0.1).astype(np.uint8) * (x > 20)
    result = quantise(pixels)
    after = np.asarray(result.convert("RGBA"))
    assert len(result.getpalette()) <= 768
    assert (after[..., 3] == pixels[..., 3]).all()
    assert set(np.unique(after[..., 3])) == {0, 254, 255}
    assert np.abs(after[..., :3].astype(float) - pixels[..., :3]).mean() < 8


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("HSV", (4, 4)), "mode HSV is not supported"),
        (Image.new("F", (4, 4)), "mode F is not supported.*convert"),
        (Image.new("I", (4, 4), 70000), "70000"),
        (Image.new("I", (4, 4), -1), "from -1"),
    ],
)
def test_other_modes_are_refused(tmp_path, image, words):
    with pytest.raises(ImageError, match=words):
        to_tensor(image)
    if image.mode != "I":
        for suffix in (".tif", ".png", ".jpg"):
            with pytest.raises(ImageError, match=words):
                save_picture(image, tmp_path / f"a{suffix}")
    if image.mode != "HSV":
        with pytest.raises(ImageError, match=words):
            to_rgb(image)


# 16 bits a channel


def test_deep_pictures_look_like_pictures():
    image = deep_picture("LA;16")
    assert (image.mode, image.size, image.width, image.height) == ("LA;16", (24, 18), 24, 18)
    pixels = np.array([[[0, 128, 129], [65535, 257, 300]]], np.uint16)
    eight = SixteenBitPicture(pixels, {"dpi": (9, 9)}).convert("RGB")
    assert np.asarray(eight).tolist() == [[[0, 0, 1], [255, 1, 1]]]
    assert eight.info == {"dpi": (9, 9)}


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16), np.zeros((0, 4, 3), "u2")],
)
def test_what_cannot_be_a_deep_picture_is_refused(pixels):
    with pytest.raises(ImageError, match=r"got pixels|got a picture of 4×0"):
        SixteenBitPicture(pixels)


def test_bmp_of_16_bits_a_pixel_is_not_deep(tmp_path):
    head = struct.pack("<2sIII", b"BM", 74, 0, 70)
    head += struct.pack("<IiiHHIIiiII", 40, 2, -1, 1, 16, 3, 4, 0, 0, 0, 0)
    masks = struct.pack("<IIII", 0xF800, 0x07E0, 0x001F, 0)
    (tmp_path / "a.bmp").write_bytes(head + masks + struct.pack("<HH", 0xF800, 0x001F))
    image = open_picture(tmp_path / "a.bmp")
    assert isinstance(image, Image.Image)
    assert np.asarray(image).tolist() == [[[255, 0, 0], [0, 0, 255]]]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"planarconfig": "separate", "photometric": "rgb"}, "stored in planes"),
        ({"photometric": "separated"}, "stored as CMYK"),
    ],
)
def test_16_bits_that_pillow_would_make_8_are_refused(tmp_path, how, words):
    pixels = deep_picture("RGBA;16" if "separated" in how.values() else "RGB;16").pixels
    pixels = np.moveaxis(pixels, 2, 0) if "planarconfig" in how else pixels
    tifffile.imwrite(tmp_path / "a.tif", pixels, **how)
    with pytest.raises(ImageError, match=rf"a\.tif has 16 bits a channel {words}.*RGB PNG"):
        open_picture(tmp_path / "a.tif")


# metadata


@pytest.mark.parametrize("kind", KINDS)
def test_upright_turns_like_pillow(kind):
    for orientation in range(1, 9):
        image = picture(kind)
        image.info["exif"] = exif_block(orientation)
        result = upright(image)
        assert same_pixels(result, ImageOps.exif_transpose(image))
        assert result.getexif()[ORIENTATION] == 1
        assert image.getexif()[ORIENTATION] == orientation
        assert same_pixels(upright(result), result)


def test_exif_is_kept_byte_for_byte_but_for_orientation():
    before = exif_block(6)
    after = upright_exif(before, (24, 18))
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert changed == [(6, 1)]
    assert upright_exif(exif_block(), (24, 18)) == exif_block()
    # WebP files repeat the mark, or leave it out
    assert upright_exif(b"Exif\0\0" + before, (24, 18)) == after
    assert upright_exif(before[6:], (24, 18)) == after


@pytest.mark.parametrize("order", "<>")
def test_exif_loses_its_thumbnail(order):
    """The thumbnail of the old picture, which file managers would show."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    first = struct.pack(f"{order}HHHIHHI", 1, ORIENTATION, 3, 1, 8, 0, 26)
    second = struct.pack(f"{order}HHHIII", 1, 0x0201, 4, 1, 44, 0)
    raw = b"Exif\0\0" + head + first + second + b"thumbnail"
    image = picture("RGB")
    image.info["exif"] = raw
    assert image.getexif().get_ifd(ExifTags.IFD.IFD1) == {0x0201: 44}
    result = upright(image)
    assert result.size == (18, 24)
    assert result.getexif().get_ifd(ExifTags.IFD.IFD1) == {}
    assert result.getexif()[ORIENTATION] == 1


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"nonsense" * 9,
        b"Exif\0\0M\0\0*" + exif_block()[10:],
    ],
)
def test_broken_exif_is_left_out(junk):
    image = picture("RGB")
    image.info["exif"] = junk
    result = upright(image)
    assert same_pixels(result, image)
    assert "exif" not in result.info
    assert result.info.get("left_out", ()) == (("EXIF that cannot be read",) if junk else ())


def test_xmp_orientation_is_reset():
    image = picture("RGB")
    image.info |= {"exif": exif_block(6), "xmp": b'<x tiff:Orientation="6" a="6"/>'}
    image.info["XML:com.adobe.xmp"] = "<tiff:Orientation>6</tiff:Orientation>"
    result = upright(image)
    assert result.info["xmp"] == b'<x tiff:Orientation="1" a="6"/>'
    assert result.info["XML:com.adobe.xmp"] == "<tiff:Orientation>1</tiff:Orientation>"


def test_no_pixels_is_refused():
    with pytest.raises(ImageError, match="0×5"):
        upright(Image.new("RGB", (0, 5)))


# files


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["I", "I;16B"])
def test_grey_of_16_bits_is_written_from_every_layout(tmp_path, mode, suffix):
    image = picture(mode)
    save_picture(image, tmp_path / f"a{suffix}")
    back = open_picture(tmp_path / f"a{suffix}")
    assert back.mode.startswith("I")
    assert (np.asarray(back) == np.asarray(image)).all()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", ["RGB", "L"])
def test_every_format_carries_what_the_picture_carries(tmp_path, kind, suffix):
    image = picture(kind)
    image.info |= {"icc_profile": icc_profile(), "exif": exif_block(1), "dpi": (300, 300)}
    image.info["xmp"] = b"<x:xmpmeta>hello</x:xmpmeta>"
    save_picture(image, tmp_path / f"picture{suffix.upper()}")
    with open_file(tmp_path / f"picture{suffix.upper()}") as file:
        assert open_undecoded(file, tmp_path).format == FORMATS[suffix].name
    back = open_picture(tmp_path / f"picture{suffix.upper()}")
    assert back.size == image.size
    check_carried(back)
    if FORMATS[suffix].name in ("JPEG", "PNG", "TIFF"):  # the other formats have no resolution
        assert back.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def check_carried(image):
    exif = image.getexif()
    assert exif[MAKE] == "Testcam"
    assert exif.get(ORIENTATION, 1) == 1
    assert exif.get_ifd(EXIF_IFD)[0x9003] == "2024:05:06 07:08:09"
    assert exif.get_ifd(EXIF_IFD)[0x927C] == MAKER_NOTE
    assert exif.get_ifd(GPS_IFD)[1] == "N"
    assert image.info["icc_profile"] == icc_profile()
    assert b"hello" in image.info["xmp"]


def test_jpeg_is_fine_grained(tmp_path):
    """One-pixel colour stripes, which chroma subsampling would turn grey."""
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (200, 60, 60), (60, 60, 200)
    save_picture(Image.fromarray(stripes), tmp_path / "a.jpg")
    back = np.asarray(open_picture(tmp_path / "a.jpg")).astype(int)
    assert np.abs(back - stripes).max() < 12


def test_jpeg_takes_stand_ins(tmp_path):
    for kind in ("1", "P", "CMYK"):
        image = picture(kind, (64, 64))
        save_picture(image, tmp_path / f"{kind}.jpg")
        back = open_picture(tmp_path / f"{kind}.jpg")
        assert back.mode == {"1": "L", "P": "RGB", "CMYK": "CMYK"}[kind]
        assert (to_tensor(back) - to_tensor(image)).abs().mean() < 0.05


def test_webp_keeps_transparency_and_the_colours_of_invisible_pixels(tmp_path):
    for kind in ("RGBA", "LA", "P alpha"):
        image = picture(kind)
        save_picture(image, tmp_path / f"{kind}.webp")
        back = open_picture(tmp_path / f"{kind}.webp")
        assert back.getchannel("A").tobytes() == image.convert("RGBA").getchannel("A").tobytes()
    ramp = Image.linear_gradient("L").resize((32, 32))
    image = Image.merge("RGBA", [ramp, ramp, ramp, Image.new("L", (32, 32))])
    save_picture(image, tmp_path / "a.webp")
    back = np.asarray(open_picture(tmp_path / "a.webp")).astype(int)
    assert np.abs(back - np.asarray(image)).max() < 16


@pytest.mark.parametrize(
    ("kind", "name", "instead"),
    [
        ("RGBA", "a.jpg", "a.png"),
        ("LA", "a.jpeg", "a.png"),
        ("P one transparent", "a.jpg", "a.png"),
        ("RGB transparent colour", "a.jpg", "a.png"),
        ("RGB transparent colour", "a.webp", "a.png"),
        ("P alpha", "a.tif", "a.png"),
        ("I;16", "a.jpg", "a.png"),
        ("I;16", "a.webp", "a.png"),
        ("CMYK", "a.png", "a.tif"),
        ("CMYK", "a.webp", "a.tif"),
        ("RGBA", "a.heic", "a.png"),
        ("RGBA", "a.avif", "a.png"),
        ("CMYK", "a.heic", "a.tif"),
        ("RGB", "a.gif", "a.png"),
        ("RGB", "a", "a.png"),
        ("RGB;16", "a.jpg", "a.png"),
        ("RGBA;16", "a.webp", "a.png"),
        ("LA;16", "a.tif", "a.png"),
        ("RGB;16 transparent colour", "a.tif", "a.png"),
    ],
)
def test_formats_that_would_lose_something_are_refused(tmp_path, kind, name, instead):
    image = deep_picture(kind) if kind in DEEP_KINDS else picture(kind)
    with pytest.raises(ImageError, match=rf"save it as .*{instead}"):
        save_picture(image, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    save_picture(image, tmp_path / instead)


CLEAR = bytes([255] * 255 + [0])
GREY = Image.radial_gradient("L").resize((24, 18))
COLOURS = Image.merge("RGB", [GREY, GREY.rotate(180), Image.linear_gradient("L").resize((24, 18))])
OPAQUE = {
    "RGBA": ("jpg webp tif avif heic", COLOURS.convert("RGBA")),
    "LA": ("jpg webp tif avif heic", GREY.convert("LA")),
    "PA": ("jpg webp", COLOURS.quantize().convert("PA")),
    "P": ("jpg tif avif", COLOURS.quantize(200)),  # colour 255 is not used
    "L": ("jpg webp tif", GREY.point(lambda level: min(level, 254))),
    "RGB": ("jpg webp tif", COLOURS.point(lambda level: min(level, 254))),
    "RGBA;16": (
        "png tif",
        SixteenBitPicture(deep_picture("RGBA;16").pixels | np.uint16([0, 0, 0, 65535])),
    ),
    "LA;16": ("tif", SixteenBitPicture(deep_picture("LA;16").pixels | np.uint16([0, 65535]))),
    "I;16": ("tif", Image.new("I;16", (24, 18), 7)),
    "RGB;16": ("tif", SixteenBitPicture(deep_picture("RGB;16").pixels & np.uint16(0xFFFE))),
}
KEYS = {"P": CLEAR, "L": 255, "RGB": (255, 255, 255), "I;16": 8, "RGB;16": (65535, 1, 1)}


@pytest.mark.parametrize("mode", OPAQUE)
def test_alpha_that_hides_nothing_is_no_obstacle(tmp_path, mode):
    suffixes, image = OPAQUE[mode]
    image.info["dpi"] = (300, 300)
    if mode in KEYS:
        image.info["transparency"] = KEYS[mode]
    assert image.mode == mode
    assert image.has_transparency_data
    for suffix in suffixes.split():
        check_picture(image, path := tmp_path / f"a.{suffix}")
        save_picture(image, path)
        back = open_picture(path)
        difference = to_tensor(back) - to_tensor(image.convert("RGB") if mode == "PA" else image)
        assert difference.abs().mean() < (1e-6 if suffix in ("png", "tif") else 0.03)
        if suffix in ("jpg", "tif"):
            assert back.info["dpi"] == (300, 300)
    if mode == "RGBA;16":
        assert open_picture(tmp_path / "a.png").mode == "RGBA;16"
        with pytest.raises(ImageError, match=r"cannot hold pictures of mode RGB.*;16; save it as"):
            save_picture(image, tmp_path / "a.jpg")


def test_a_background_replaces_transparency_that_a_format_lacks(tmp_path):
    for kind, name, mode, colour in (
        ("P alpha", "a.tif", "RGB", "#0a141e"),
        ("RGB transparent colour", "a.webp", "RGB", "orange"),
        ("LA", "a.jpg", "L", "white"),
        ("RGBA", "a.avif", "RGB", "black"),
    ):
        image = picture(kind)
        check_picture(image, tmp_path / name, colour)
        assert save_picture(image, tmp_path / name, background=colour) == []
        page = Image.new("RGBA", image.size, colour)
        page.alpha_composite(image.convert("RGBA"))
        save_picture(page.convert(mode), tmp_path / f"page-{name}")
        assert same_pixels(open_picture(tmp_path / name), open_picture(tmp_path / f"page-{name}"))
    save_picture(picture("RGBA"), tmp_path / "a.png", background="red")
    assert open_picture(tmp_path / "a.png").tobytes() == picture("RGBA").tobytes()
    with pytest.raises(ConfigError, match="got 'rde', expected a colour, such as white"):
        check_picture(picture("RGBA"), tmp_path / "b.jpg", "rde")
    with pytest.raises(ImageError, match=r"transparency; save it as \S+b\.png$"):
        check_picture(deep_picture("RGBA"), tmp_path / "b.jpg", "red")


@pytest.mark.parametrize("mode", ["RGBA", "P", "I;16", "LA;16"])
def test_one_transparent_pixel_is_one_too_many(tmp_path, mode):
    image = OPAQUE[mode][1]
    if mode == "LA;16":
        image.pixels[3, 4, 1] = 65534
    elif mode == "RGBA":
        image = image.copy()
        image.putpixel((3, 4), (0, 0, 0, 254))
    else:
        image = image.copy()
        image.putpixel((3, 4), 255 if mode == "P" else 8)
        image.info["transparency"] = KEYS[mode]
    with pytest.raises(ImageError, match="cannot hold transparency; save it as"):
        check_picture(image, tmp_path / ("a.tif" if mode != "RGBA" else "a.jpg"))


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".heic"])
def test_sizes_that_a_format_cannot_hold_are_known_before(tmp_path, suffix):
    side = FORMATS[suffix].side
    largest = Image.new("L", (side, 8))
    if suffix != ".heic":  # x265 is slow
        save_picture(largest, tmp_path / f"a{suffix}")
        assert open_picture(tmp_path / f"a{suffix}").size == (side, 8)
    for size in ((side + 1, 8), (8, side + 1)):
        with pytest.raises(ImageError, match=rf"pixels, at most {side} a side; save it as .*png"):
            check_picture(Image.new("L", size), tmp_path / f"b{suffix}")


def test_exif_of_any_length(tmp_path):
    """Pillow reads EXIF from several segments of a JPEG, but cannot write several."""
    exif = Image.Exif()
    exif[MAKE] = "Testcam"
    note = np.random.default_rng(0).integers(0, 256, 150_000, np.uint8).tobytes()
    exif[EXIF_IFD] = {0x9003: "2024:05:06 07:08:09", 0x927C: note}
    image = picture("RGB")
    image.info |= {"exif": exif.tobytes(), "icc_profile": icc_profile()}
    for suffix in (".jpg", ".png", ".tif", ".webp", ".avif", ".heic"):
        check_picture(image, path := tmp_path / f"a{suffix}")
        save_picture(image, path)
        with Image.open(path) if suffix != ".heic" else open_picture(path) as back:
            assert back.getexif().get_ifd(EXIF_IFD)[0x927C] == note
            assert back.info["icc_profile"] == icc_profile()


def test_what_a_picture_carries_is_tried_before_the_work(tmp_path):
    image = picture("RGB")
    image.info["comment"] = bytes(70_000)  # from a GIF, for example; a JPEG holds 64 kB
    for check in (check_picture, save_picture):
        with pytest.raises(ImageError, match=r"a\.jpg cannot be written"):
            check(image, tmp_path / "a.jpg")
    check_picture(image, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_straight_from_pillow(tmp_path):
    """The picture is turned upright, because TIFF files do not keep the orientation."""
    image = picture("RGB", (40, 20))
    exif = exif_block(6)
    image.save(tmp_path / "a.png", exif=exif, dpi=(300, 300), icc_profile=icc_profile())
    with Image.open(tmp_path / "a.png") as file:
        save_picture(file, tmp_path / "b.tif")
    back = open_picture(tmp_path / "b.tif")
    assert same_pixels(back, image.transpose(Image.Transpose.ROTATE_270))
    assert back.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert back.getexif()[MAKE] == "Testcam"
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-500])
    with Image.open(tmp_path / "a.png") as file, pytest.raises(ImageError, match="cut short"):
        save_picture(file, tmp_path / "c.png")
    with pytest.raises(ImageError, match="got a ndarray, expected a picture"):
        save_picture(np.zeros((8, 8, 3)), tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


def test_heif_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    save_picture(picture("RGB"), tmp_path / "a.heic")
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    for call in (
        lambda: open_picture(tmp_path / "a.heic"),
        lambda: save_picture(picture("RGB"), tmp_path / "b.heic"),
    ):
        with pytest.raises(MissingExtraError, match=r'pip install "derefl\[heic\]"'):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["a.heic"]


def test_avif_that_pillow_lacks_says_so(tmp_path, monkeypatch):
    Image.init()
    monkeypatch.delitem(Image.SAVE, "AVIF", raising=False)
    with pytest.raises(ImageError, match=r"has no AVIF; update Pillow .*a\.png"):
        save_picture(picture("RGB"), tmp_path / "a.avif")
    assert list(tmp_path.iterdir()) == []


def test_quality_of_formats_that_have_one(tmp_path):
    for name in ("a.jpg", "a.webp", "a.png"):
        save_picture(picture("RGB", (64, 64)), tmp_path / name)
        save_picture(picture("RGB", (64, 64)), tmp_path / f"low-{name}", quality=10)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["low-a.jpg"] < sizes["a.jpg"] / 3
    assert sizes["low-a.webp"] < sizes["a.webp"] / 3
    assert sizes["low-a.png"] == sizes["a.png"]


def test_rotated_tiff_is_turned_once(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture("RGB").save(tmp_path / "a.tif", exif=exif)
    image = open_picture(tmp_path / "a.tif")
    assert same_pixels(image, picture("RGB").transpose(Image.Transpose.ROTATE_270))
    assert image.getexif().get(ORIENTATION, 1) == 1


def test_jpeg_layout_tags_do_not_spoil_a_tiff(tmp_path):
    """Some phones write width and height into EXIF; a TIFF has its own tags."""
    exif = Image.Exif()
    exif[0x0100], exif[0x0101], exif[MAKE] = 9999, 9999, "Phone"
    image = picture("RGB")
    image.info["exif"] = exif.tobytes()
    save_picture(image, tmp_path / "a.tif")
    back = open_picture(tmp_path / "a.tif")
    assert same_pixels(back, image)
    assert back.getexif()[MAKE] == "Phone"


def bad_files(folder):
    """Files that cannot be opened, and a word of the expected reason."""
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "folder.jpg").mkdir()
    buffer = io.BytesIO()
    picture("RGB", (200, 200)).save(buffer, "JPEG")
    (folder / "cut.jpg").write_bytes(buffer.getvalue()[:-3000])
    buffer = io.BytesIO()
    picture("RGB", (200, 200)).save(buffer, "PNG")
    (folder / "short.png").write_bytes(buffer.getvalue()[:-3000])
    return {
        "text.jpg": "not a picture",
        "empty.png": "not a picture",
        "folder.jpg": "is a folder",
        "cut.jpg": "damaged or cut short",
        "short.png": "damaged or cut short",
        "missing.jpg": "no such file",
    }
