"""Which files are read as pictures, and the messages for other files."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from derefl.cli import main
from derefl.errors import ImageError
from derefl.imaging.files import open_picture
from derefl.imaging.formats import RAW_SUFFIXES
from tests.pictures import picture, same_pixels

PREVIEW = np.zeros((6, 8, 3), np.uint8)
SENSOR = np.zeros((12, 16), np.uint16)


def tiff(path, *, sub=None, **options) -> bytes:
    """A TIFF with a preview and a second picture that the first page points to."""
    with tifffile.TiffWriter(path) as file:
        file.write(PREVIEW, photometric="rgb", subifds=0 if sub is None else 1, **options)
        if sub is not None:
            file.write(SENSOR if sub == "cfa" else PREVIEW, photometric=sub)
    return path.read_bytes()


RAW = {
    "DNG": lambda path: tiff(path, extratags=[(50706, "B", 4, (1, 4, 0, 0), True)]),
    "NEF": lambda path: tiff(path, sub="cfa"),
    "linear": lambda path: tiff(path, sub=34892),
    "ARW": lambda path: tiff(path, sub="rgb", subfiletype=1),
    "CR2": lambda _: b"II*\0\x10\0\0\0CR\2\0" + bytes(99),
    "CR3": lambda _: b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(99),
    "RAF": lambda _: b"FUJIFILMCCD-RAW 0201" + bytes(99),
    "ORF": lambda _: b"IIRO\x08\0\0\0" + bytes(99),
    "RW2": lambda _: b"IIU\0\x18\0\0\0" + bytes(99),
}


@pytest.mark.parametrize("kind", RAW)
@pytest.mark.parametrize("first_frame", [False, True])
def test_raw_files_are_refused_whatever_their_name(tmp_path, kind, first_frame):
    content = RAW[kind](tmp_path / "made.tif")
    for name in (f"photo.{kind}", "photo.tif", "photo.jpg"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=f"^[^\n]*{name} is a camera's raw.*TIFF or JPEG"):
            open_picture(tmp_path / name, first_frame=first_frame)


def test_raw_suffixes_decide_where_the_content_does_not(tmp_path):
    plain = tiff(tmp_path / "plain.tif")
    assert open_picture(tmp_path / "plain.tif").size == (8, 6)
    assert {".dng", ".nef", ".cr2", ".arw", ".orf", ".rw2", ".pef"} <= RAW_SUFFIXES
    for content in (plain, b"nothing known"):
        (tmp_path / "photo.PEF").write_bytes(content)
        with pytest.raises(ImageError, match="raw files are not supported"):
            open_picture(tmp_path / "photo.PEF")
    picture("RGB").save(tmp_path / "photo.DNG", "PNG")  # a PNG with another name
    assert same_pixels(open_picture(tmp_path / "photo.DNG"), picture("RGB"))


def test_a_tiff_with_smaller_copies_is_no_raw_file(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(PREVIEW, photometric="rgb", subifds=1)
        file.write(PREVIEW[::2, ::2], photometric="rgb", subfiletype=1)
    assert open_picture(tmp_path / "a.tif").size == (8, 6)


def float_tiff(path):
    Image.new("F", (8, 6), 0.5).save(path)


def lab_tiff(path):
    Image.new("LAB", (8, 6)).save(path)


def ycbcr_tiff(path):
    Image.new("YCbCr", (8, 6)).save(path)


def negative_tiff(path):
    tifffile.imwrite(path, SENSOR, photometric="miniswhite")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (float_tiff, "mode F is not supported"),
        (lab_tiff, "mode LAB is not supported"),
        (ycbcr_tiff, "mode YCbCr is not supported"),
        (negative_tiff, "mode I;16 with 0 for white is not supported"),
    ],
)
def test_modes_that_are_not_supported_are_one_line(tmp_path, checkpoint, capsys, write, words):
    write(path := tmp_path / "a.tif")
    with pytest.raises(ImageError, match=f"a.tif: {words}, expected .*; convert"):
        open_picture(path)
    assert main(["remove", str(path), "-o", f"{tmp_path}/o.tif", "--model", checkpoint]) == 1
    assert f"a.tif: {words}" in capsys.readouterr().err
    assert not (tmp_path / "o.tif").exists()
