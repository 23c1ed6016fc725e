"""Open picture files and check them before they are decoded: format, size and damage.

Files are not trusted. Pillow's limit against huge pictures and the warning filters are global
settings of the process, which other threads and the calling program also use. So derefl calls
Pillow's readers directly.
"""

import logging
import re
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from derefl.errors import ImageError, PictureTooLargeError
from derefl.imaging.formats import FORMATS, RAW_SUFFIXES, need_heif, unsupported
from derefl.imaging.xmp import GAIN_MAP, VIDEO

MAX_MEGAPIXELS = 200.0
"""Default limit for a picture: the resolution of the largest phone cameras. 600 MB in 8-bit RGB."""

READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
"""The Pillow readers in use, besides HEIF. The other readers of Pillow are for formats that are
not used for photos; one of them starts Ghostscript."""

ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
"""Formats in which several pictures are frames. In other formats, further pictures belong to the
first picture: previews, depth maps, a burst."""

REDUCED, COMPRESSION, COLOURS, PLANAR = 0x00FE, 0x0103, 0x0106, 0x011C
"""TIFF tags: smaller copy of another page, compression, colour space, planar configuration."""

SUB_IFDS, DNG_VERSION = 0x014A, 0xC612
"""TIFF tags: further pictures of a page, and the version of a DNG."""

RAW_STARTS = (
    *(b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR", b"\0\0\0\x18ftypcrx "),
    *(b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"II*\0\x10\0\0\0CR", b"II*\0\x08\0\0\0IIII"),
)
"""First bytes of raw files: Fujifilm, Sigma, Minolta, Canon, Olympus, Panasonic, Phase One."""

RAW_COLOURS = (32803, 34892)
"""Colour spaces of sensor values in a TIFF, with one or three colours per pixel."""

NCLX = re.compile(rb"colrnclx\0(.)\0(.)", re.DOTALL)
"""The numbers of the primaries and of the transfer curve; the first are those of the main photo."""

GAIN_MAPS = re.compile(rb"urn:iso:std:iso:ts:21496|urn:com:apple:photo:2020:aux:hdrgainmap")
"""The marks of ISO's and Apple's gain maps."""

MOVIE = re.compile(rb"ftyp(mp4|iso|qt  |avc1|M4V|MSNV|3gp)")
"""The start of a video that follows a photo in the same file."""

COPIES = 32
"""Limit for smaller copies in a TIFF; no picture can be halved more often."""

_filters = threading.Lock()


@contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Suppress Pillow's log and warnings, and yield the list that collects the warnings.

    Python has one set of warning filters for all threads, so this uses a lock. Keep the block
    short.
    """
    pillow, nothing = logging.getLogger("PIL"), logging.NullHandler()
    with _filters, warnings.catch_warnings(record=True) as unsaid:
        warnings.simplefilter("always")
        pillow.addHandler(nothing)  # without a handler, Pillow's log goes to stderr
        try:
            yield unsaid
        finally:
            pillow.removeHandler(nothing)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file; a pipe or a device could block for ever."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{path} is a folder, expected a picture; name a file in it")
        if not stat.S_ISREG(mode):
            raise ImageError(
                f"{path} is a pipe or a device, expected a picture; save it to a file first"
            )
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"{path}: there is no such file; check the spelling") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise ImageError(
            f"{path} cannot be read ({reason}); check its name and permissions"
        ) from error


def open_undecoded(file: BinaryIO, path: Path) -> ImageFile:
    """The picture in a file, not decoded yet."""
    file.seek(0)
    name, reader = reader_of(file, path)
    file.seek(0)
    try:
        with quiet() as unsaid:
            image = reader(file, str(path))
    except Exception as error:  # a parser may raise any exception
        raise ImageError(
            f"{path} starts like {name} but cannot be read ({one_line(error)}); open it in a "
            "viewer, or convert it to PNG"
        ) from error
    # Pillow ignores damaged tags, but the ICC profile may be among them.
    lost = [text for w in unsaid if "Skipping tag" in (text := str(w.message)) or "Trunc" in text]
    if image.format == "TIFF" and lost:
        raise damaged_picture(path, lost[0])
    return image


def format_of(path: Path) -> str | None:
    """The name of a picture's format as in Pillow, read from the content."""
    with open_file(path) as file:
        name = open_undecoded(file, path).format
    return "JPEG" if name == "MPO" else name  # MPO: a JPEG and more data, such as a depth map


def reader_of(file: BinaryIO, path: Path) -> tuple[str, Callable[..., Any]]:
    """The name of the file's format by its first bytes, and the reader."""
    head = file.read(64)
    if is_heif(head):
        need_heif(path)
        from pillow_heif import HeifImageFile

        return "HEIF", HeifImageFile
    Image.init()
    for name in READABLE:
        factory, accept = Image.OPEN.get(name, (None, None))
        # accept returns a string if Pillow was built without the format
        if factory is not None and accept is not None and accept(head) is True:
            break
    else:
        name = ""
    if (
        head.startswith(RAW_STARTS)
        or (name in ("", "TIFF") and path.suffix.lower() in RAW_SUFFIXES)
        or (name == "TIFF" and is_raw_tiff(file, head))
    ):
        raise ImageError(
            f"{path} is a camera's raw file, and raw files are not supported; export the photo as "
            "a TIFF or JPEG from your raw converter"
        )
    if not name:
        raise ImageError(
            f"{path} is not a picture that derefl can read, expected for example a JPEG or PNG; "
            "convert it first"
        )
    assert factory is not None
    return name, factory


def is_heif(head: bytes) -> bool:
    """Whether a file starts like HEIF; AVIF has the same container and does not count."""
    if head[4:8] != b"ftyp":
        return False
    box = head[: min(len(head), int.from_bytes(head[:4], "big"))]
    brands = {box[8:12]} | {box[i : i + 4] for i in range(16, len(box), 4)}
    return b"avif" not in brands and not brands.isdisjoint({b"heic", b"heix", b"mif1", b"msf1"})


def is_raw_tiff(file: BinaryIO, head: bytes) -> bool:
    """Whether a TIFF is a raw file; the first picture of a raw file is often a small preview."""

    def tags_at(place: int | None) -> ImageFileDirectory_v2:
        tags = ImageFileDirectory_v2(head[: 16 if 43 in head[2:4] else 8])
        file.seek(tags.next if place is None else place)
        tags.load(file)
        return tags

    try:
        with quiet():
            first = tags_at(None)
            parts = [first, *map(tags_at, first.get(SUB_IFDS, ()))]
            preview = first.get(REDUCED, 0) & 1 and SUB_IFDS in first
            raw = any(part.get(COLOURS) in RAW_COLOURS for part in parts)
            return bool(preview or raw or DNG_VERSION in first)
    except Exception:  # a parser may raise any exception; the reader reports the error later
        return False


def check_size(image: ImageFile, path: Path, max_megapixels: float) -> None:
    """Raise PictureTooLargeError for more than ``max_megapixels`` million pixels."""
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise PictureTooLargeError(
            f"{path} has {image.width}×{image.height} pixels, {megapixels:.1f} megapixels, "
            f"expected at most {max_megapixels:g}; make a smaller copy of it",
            int(megapixels) + 1,
        )


def check_mode(image: ImageFile, path: Path) -> None:
    """Raise ImageError if no output format supports the picture's colour mode."""
    mode, tags = image.mode, getattr(image, "tag_v2", {})
    if tags.get(COLOURS) == 6 and tags.get(COMPRESSION) not in (6, 7):
        mode = "YCbCr"  # Pillow reports RGB, but converts the colours only for JPEG compression
    elif mode.startswith("I;16") and tags.get(COLOURS) == 0:
        mode += " with 0 for white"  # Pillow would return the negative
    if not any(mode in form.modes for form in FORMATS.values()):
        raise ImageError(f"{path}: {unsupported(mode)}")


def check_single(image: ImageFile, path: Path) -> None:
    """Raise ImageError for an animation or a TIFF with several pages."""
    with quiet():
        if image.format == "TIFF" and has_pages(image):
            what, option = "has several pages", ""
        elif image.format in ANIMATED and getattr(image, "is_animated", False):
            what, option = "is an animation", "-coalesce "
        else:
            return
    raise ImageError(
        f"{path} {what}, expected a single picture; extract one, for example with ImageMagick: "
        f"magick {path} {option}{path.stem}-%03d.png"
    )


def has_pages(image: ImageFile) -> bool:
    """Whether a TIFF has several pages; smaller copies of other pages do not count."""
    try:
        for page in range(1, COPIES):  # Pillow is slow at counting all pages
            image.seek(page)
            if not image.tag_v2.get(REDUCED, 0) & 1:  # type: ignore[attr-defined]
                return True
    except EOFError:
        image.seek(0)
        return False
    return True


def more_info(image: ImageFile, file: BinaryIO) -> dict[str, Any]:
    """Entries for ``info`` that Pillow does not read.

    ``lossless``: the WebP is lossless. ``cicp``: the colour space of a PNG. ``nclx_profile``: that
    of an AVIF. ``left_out``: a video or a gain map in the file of a photo.
    """
    if image.format == "WEBP":
        return {"lossless": True} if is_lossless_webp(file) else {}
    file.seek(0)
    if image.format == "PNG":
        head = file.read(1 << 20).partition(b"IDAT")[0]
        match = re.search(rb"\0\0\0\x04cICP(.{4})", head, re.DOTALL)
        return {"cicp": match[1]} if match else {}
    if image.format not in ("JPEG", "MPO", "HEIF", "AVIF"):
        return {}
    content = file.read()
    lost = [VIDEO] if MOVIE.search(content, 64) else []
    tone_map = content[4:8] == b"ftyp" and b"tmap" in content[:64]
    lost += [GAIN_MAP] if tone_map or GAIN_MAPS.search(content) else []
    info: dict[str, Any] = {"left_out": tuple(lost)} if lost else {}
    if image.format == "AVIF" and (match := NCLX.search(content)):
        names = ("color_primaries", "transfer_characteristics")  # as in pillow_heif
        matrix = {"matrix_coefficients": 6, "full_range_flag": 1}  # of a new file
        info["nclx_profile"] = dict(zip(names, b"".join(match.groups()), strict=True)) | matrix
    return info


def is_lossless_webp(file: BinaryIO) -> bool:
    """Whether a WebP is lossless; Pillow does not report this."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        if head[:4] in (b"VP8L", b"VP8 "):
            return head[:4] == b"VP8L"
        size = int.from_bytes(head[4:], "little")
        file.seek(size + size % 2, 1)
    return False


def damaged_picture(path: Path | str, error: Exception | str) -> ImageError:
    """The error for a damaged file."""
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(
            f"{path} is larger than Pillow reads of its format ({one_line(error)}); convert it to "
            "PNG, or set PIL.Image.MAX_IMAGE_PIXELS in Python"
        )
    return ImageError(
        f"{path} is damaged or cut short ({one_line(error)}); open it in a viewer, or get it again"
    )


def one_line(error: Exception | str) -> str:
    """The message of an exception in one line, or its class name."""
    return " ".join(str(error).split())[:200] or type(error).__name__
