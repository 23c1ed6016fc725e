"""Damaged and disguised files: a one-line error, and no half-written output."""

import io
import os
import re
import resource
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from PIL import Image

from derefl.cli import main
from derefl.errors import DereflError, ImageError, OutputError
from derefl.imaging.files import open_picture, save_picture
from derefl.imaging.opening import MAX_MEGAPIXELS
from derefl.imaging.sixteen_bit import SixteenBitPicture
from tests.edits import EDITS, edited
from tests.pictures import deep_picture, exif_block, picture, same_pixels, wide_profile


def encoded(name: str, image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def written(image: object, suffix: str, folder: Path) -> bytes:
    save_picture(image, path := folder / f"specimen{suffix}", overwrite=True)  # type: ignore[arg-type]
    return path.read_bytes()


@pytest.fixture(scope="module")
def specimens(tmp_path_factory) -> dict[str, bytes]:
    """A small file of each supported format, with profile and EXIF; name to content."""
    folder = tmp_path_factory.mktemp("specimens")
    carried = {"exif": exif_block(6), "icc_profile": wide_profile("Adobe RGB")}
    rgb, rgba = picture("RGB"), picture("RGBA")
    deep = deep_picture("RGB;16", (12, 9))
    deep.info.update(carried)
    rgb.info.update(carried)
    return {
        "a.jpg": encoded("JPEG", rgb, **carried),
        "progressive.jpg": encoded("JPEG", rgb, progressive=True),
        "a.png": encoded("PNG", rgba, **carried),
        "palette.png": encoded("PNG", picture("P one transparent")),
        "deep.png": written(deep, ".png", folder),
        "a.webp": encoded("WEBP", rgba, **carried),
        "lossless.webp": encoded("WEBP", rgba, lossless=True),
        "a.tif": encoded("TIFF", rgb, **carried),
        "lzw.tif": encoded("TIFF", rgb, compression="tiff_lzw"),
        "deep.tif": written(deep, ".tif", folder),
        "a.gif": encoded("GIF", picture("P")),
        "a.bmp": encoded("BMP", rgb),
        "a.heic": written(rgb, ".heic", folder),
        "a.avif": written(rgb, ".avif", folder),
    }


NAMES = [
    *("a.jpg", "progressive.jpg", "a.png", "palette.png", "deep.png", "a.webp", "lossless.webp"),
    *("a.tif", "lzw.tif", "deep.tif", "a.gif", "a.bmp", "a.heic", "a.avif"),
]


@pytest.fixture
def refused(tmp_path):
    """Open a file that cannot be opened, and give the one-line reason."""

    def refuse(path: object, **options: float) -> str:
        with warnings.catch_warnings(record=True) as said, pytest.raises(DereflError) as info:
            warnings.simplefilter("always")
            open_picture(path, **options)  # type: ignore[arg-type]
        assert said == []
        line = str(info.value)
        assert "\n" not in line
        assert Path(str(path)).name in line
        return line

    return refuse


# cut short


ENDING = {"a.jpg": 2, "progressive.jpg": 2, "palette.png": 4, "deep.png": 4, "a.png": 4, "a.gif": 4}
"""Bytes at the end of a file that can be missing without a loss of pixels."""


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_anywhere_is_refused(specimens, tmp_path, refused, name):
    content = specimens[name]
    path = tmp_path / name
    for cut in range(0, len(content) - ENDING.get(name, 0), 10):
        path.write_bytes(content[:cut])
        refused(path)


@pytest.mark.parametrize("name", ENDING)
def test_what_is_cut_off_without_loss_is_the_end_mark(specimens, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(specimens[name])
    whole = open_picture(path)
    for missing in range(1, ENDING[name] + 1):
        path.write_bytes(specimens[name][:-missing])
        with suppress(ImageError):
            assert same_pixels(open_picture(path), whole)


# damaged


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS", b"IDAT"])
def test_a_png_with_a_wrong_check_sum_is_refused(specimens, tmp_path, refused, kind):
    content = bytearray(specimens["palette.png"])
    place = content.index(kind)
    (length,) = struct.unpack_from(">I", content, place - 4)
    content[place + 4 + length] ^= 1
    (tmp_path / "sum.png").write_bytes(content)
    assert kind.decode() in refused(tmp_path / "sum.png") or kind == b"IHDR"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1 + 3 * min(width, 999))))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def test_packed_text_and_profiles_do_not_fill_the_memory(tmp_path, refused):
    bomb = zlib.compress(bytes(200_000_000))
    for name in (b"zTXt", b"iCCP"):
        path = tmp_path / f"{name.decode()}.png"
        path.write_bytes(png(1, 1, chunk(name, b"a\0\0" + bomb)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refused(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


# other files


def test_the_content_counts_not_the_name(specimens, tmp_path):
    for name in ("really.png", "a.jpg"):
        (tmp_path / name).write_bytes(specimens["a.jpg"])
    assert same_pixels(open_picture(tmp_path / "really.png"), open_picture(tmp_path / "a.jpg"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.jpg", b"", "is not a picture"),
        ("text.png", b"Dear all, please find attached\n" * 9, "is not a picture"),
        ("page.webp", b"<!doctype html><title>404</title>", "is not a picture"),
        ("model.tif", b"PK\x03\x04" + bytes(99), "is not a picture"),
        ("drawing.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture"),
        ("raw.tif", b"II*\0\x08\0\0\0\0\0\0\0\0\0", "starts like TIFF but cannot be read"),
        ("zeros.heic", b"\0\0\0\x18ftypheic" + bytes(99), "starts like HEIF but cannot be read"),
    ],
)
def test_what_is_not_a_picture_is_refused(tmp_path, refused, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert words in refused(tmp_path / name)


def test_what_is_not_a_file_is_refused(tmp_path, refused):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in (
        ("folder.png", "is a folder"),
        ("missing.png", "no such file"),
        ("dangling.png", "no such file"),
        ("loop.png", "symbolic links"),
        ("a" * 300 + ".png", "too long"),
        ("nul\0.png", "null"),
        ("pipe.png", "is a pipe or a device"),
        ("/dev/zero", "is a pipe or a device"),
        ("/dev/null", "is a pipe or a device"),
    ):
        assert words in refused(tmp_path / name)


@pytest.fixture
def unprivileged():
    """Run as the user nobody, because root can read all files; does nothing without root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_that_may_not_be_read_are_refused(tmp_path, specimens, refused, unprivileged):
    path = tmp_path / "closed.png"
    if os.geteuid() != 65534:  # otherwise only root may read the folder of the test
        path.write_bytes(specimens["a.png"])
        path.chmod(0)
    assert "Permission denied" in refused(path)


def test_folders_that_may_not_be_written_are_refused(tmp_path, unprivileged):
    if os.geteuid() != 65534:
        tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=r"cannot be written: .*[Pp]ermission"):
        save_picture(picture("RGB"), tmp_path / "new" / "a.png")


# too large, or too many


def test_pictures_over_the_limit_are_refused_before_they_are_decoded(
    tmp_path, refused, checkpoint, capsys
):
    assert MAX_MEGAPIXELS == 200
    path = tmp_path / "bomb.png"
    path.write_bytes(png(50_000, 50_000))
    line = refused(path)
    assert "50000×50000" in line
    assert line.endswith("2500.0 megapixels, expected at most 200; make a smaller copy of it")
    assert main(["remove", str(path), "-o", f"{path}.jpg", "--model", checkpoint]) == 1
    assert "or set max_megapixels to 2501" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_every_specimen_opens_up_to_its_size(specimens, tmp_path, refused, name):
    assert set(NAMES) == set(specimens)
    path = tmp_path / name
    path.write_bytes(specimens[name])
    sides = {12, 9} if name.startswith("deep") else {24, 18}
    pixels = np.prod(list(sides))
    assert "megapixels, expected at most" in refused(path, max_megapixels=(pixels - 1) / 1e6)
    opened = open_picture(path, max_megapixels=pixels / 1e6)
    assert isinstance(opened, SixteenBitPicture) == name.startswith("deep")
    assert {*opened.size} == sides


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "deep.png", "a.bmp", "a.heic"])
def test_the_limit_of_pillow_does_not_matter(specimens, tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(specimens[name])
    for limit in (1, 300):  # an error and a warning of Image.open
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            open_picture(tmp_path / name)


def test_what_pillow_itself_refuses_is_not_called_damaged(specimens, tmp_path, monkeypatch):
    path = tmp_path / "lzw.tif"
    path.write_bytes(specimens["lzw.tif"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    try:
        opened = open_picture(path)
    except ImageError as error:  # with Pillow 13 and later
        assert "larger than Pillow reads of its format" in str(error)
    else:
        assert same_pixels(opened, picture("RGB"))


def animation(name: str) -> bytes:
    first, *rest = (picture("RGB", seed=seed) for seed in range(3))
    return encoded(name, first, save_all=True, append_images=rest)


@pytest.mark.parametrize(
    ("name", "suffix", "words"),
    [
        ("GIF", ".gif", "is an animation"),
        ("WEBP", ".webp", "is an animation"),
        ("PNG", ".png", "is an animation"),
        ("TIFF", ".tif", "has several pages"),
    ],
)
def test_several_pictures_in_a_file_are_refused(tmp_path, refused, name, suffix, words):
    path = tmp_path / f"many{suffix}"
    path.write_bytes(animation(name))
    assert re.search(f"{words}.*magick", refused(path))
    first = open_picture(path, first_frame=True)
    assert first.size == (24, 18)
    if name in ("PNG", "TIFF"):
        assert same_pixels(first, picture("RGB", seed=0))


def test_previews_do_not_count_as_pictures(tmp_path):
    """Cameras put more JPEGs behind a JPEG, scanners small copies into a TIFF."""
    photo, preview = picture("RGB"), picture("RGB", (8, 6))
    (tmp_path / "a.jpg").write_bytes(encoded("MPO", photo, save_all=True, append_images=[preview]))
    assert open_picture(tmp_path / "a.jpg").size == (24, 18)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.asarray(photo), photometric="rgb")
        file.write(np.asarray(preview), photometric="rgb", subfiletype=1)
    assert same_pixels(open_picture(tmp_path / "a.tif"), photo)


# random edits


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_give_a_picture_or_an_error(specimens, tmp_path, name):
    path = tmp_path / name

    @given(EDITS)
    def try_one(edits):
        path.write_bytes(edited(specimens[name], edits))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                opened = open_picture(path, max_megapixels=1)
            except DereflError as error:
                assert "\n" not in str(error)
            else:
                assert isinstance(opened, Image.Image | SixteenBitPicture)
                assert 0 < opened.width * opened.height <= 1e6
                with suppress(DereflError):  # no TIFF has this mode
                    save_picture(opened, tmp_path / "out.tif", overwrite=True)
        assert [str(warning.message) for warning in said] == []

    try_one()


def test_opening_in_threads_leaves_the_warnings_of_the_program_alone(specimens, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(specimens["a.tif"])
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(open_picture, [path] * 64))
    assert all(same_pixels(picture, pictures[0]) for picture in pictures)
    assert list(warnings.filters) == before


def test_pillow_is_left_as_it_was(specimens, tmp_path):
    (tmp_path / "a.heic").write_bytes(specimens["a.heic"])
    open_picture(tmp_path / "a.heic")
    assert "HEIF" not in Image.OPEN
    assert "HEIF" not in Image.SAVE
    code = (
        "from PIL import Image; before = Image.MAX_IMAGE_PIXELS\n"
        "import derefl.imaging.files\n"
        "assert before == Image.MAX_IMAGE_PIXELS\n"
        "import sys; assert 'pillow_heif' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
