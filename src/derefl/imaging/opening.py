"""Checks before a picture file is decoded: format, size and damage.

Files are not trusted. Pillow's limit against huge pictures and the warning filters are global
settings of the process, which other threads and the calling program also use. So derefl calls
Pillow's readers directly.
"""

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image
from PIL.ImageFile import ImageFile

from derefl.errors import ImageError, PictureTooLargeError
from derefl.imaging.formats import FORMATS, need_heif, unsupported
from derefl.imaging.quiet import quiet
from derefl.imaging.raw import COLOURS, REDUCED, is_raw
from derefl.imaging.xmp import GAIN_MAP, VIDEO

MAX_MEGAPIXELS = 200.0
"""Default limit for a picture: the resolution of the largest phone cameras. 600 MB in 8-bit RGB."""

READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
"""The Pillow readers in use, besides HEIF. The other readers of Pillow are for formats that are
not used for photos; one of them starts Ghostscript."""

ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
"""Formats in which several pictures are frames. In other formats, further pictures belong to the
first picture: previews, depth maps, a burst."""

COMPRESSION, PLANAR = 0x0103, 0x011C
"""TIFF tags: compression and planar configuration."""

MOVIE = re.compile(rb"ftyp(mp4|iso|qt  |avc1|M4V|MSNV|3gp)")
"""The start of a video that follows a photo in the same file."""

COPIES = 32
"""Limit for smaller copies in a TIFF; no picture can be halved more often."""


def open_file(path: Path) -> BinaryIO:
    """Open a regular file; a pipe or a device could block for ever.

    Raises:
        ImageError: no such file, a folder, a pipe or device, or no read permission.
    """
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
        raise ImageError(f"{path} cannot be read ({reason}); check its name and rights") from error


def read_header(file: BinaryIO, path: Path) -> ImageFile:
    """The picture in a file, not decoded yet.

    Raises:
        ImageError: not a picture, or the header is damaged or unknown.
        MissingExtraError: the package for HEIF is not installed.
    """
    file.seek(0)
    name, reader = reader_of(file, path)
    file.seek(0)
    try:
        with quiet() as unsaid:
            image = reader(file, str(path))
    except Exception as error:  # a parser may raise any exception
        raise ImageError(
            f"{path} starts like {name} but cannot be read ({said(error)}); open it in a viewer, "
            "or convert it to PNG"
        ) from error
    # Pillow ignores damaged tags, but the ICC profile may be among them.
    lost = [text for w in unsaid if "Skipping tag" in (text := str(w.message)) or "Trunc" in text]
    if image.format == "TIFF" and lost:
        raise damaged(path, lost[0])
    return image


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
    if is_raw(file, head, path.suffix, name):
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


def check_size(image: ImageFile, path: Path, max_megapixels: float) -> None:
    """Refuse a picture that is too large.

    Raises:
        PictureTooLargeError: more than ``max_megapixels`` million pixels.
    """
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise PictureTooLargeError(
            f"{path} says that it has {image.width}×{image.height} pixels, {megapixels:.1f} "
            f"megapixels, expected at most {max_megapixels:g}; make a smaller copy of it",
            int(megapixels) + 1,
        )


def check_mode(image: ImageFile, path: Path) -> None:
    """Refuse a picture with an unsupported colour mode.

    Raises:
        ImageError: no output format supports the mode.
    """
    mode, tags = image.mode, getattr(image, "tag_v2", {})
    if tags.get(COLOURS) == 6 and tags.get(COMPRESSION) not in (6, 7):
        mode = "YCbCr"  # Pillow reports RGB, but converts the colours only for JPEG compression
    elif mode.startswith("I;16") and tags.get(COLOURS) == 0:
        mode += " with 0 for white"  # Pillow would return the negative
    if not any(mode in form.modes for form in FORMATS.values()):
        raise ImageError(f"{path}: {unsupported(mode)}")


def check_single(image: ImageFile, path: Path) -> None:
    """Refuse a file with several pictures, because only one picture is processed.

    Raises:
        ImageError: an animation, or a TIFF with several pages.
    """
    with quiet():
        if image.format == "TIFF" and has_pages(image):
            what, option = "has several pages", ""
        elif image.format in ANIMATED and getattr(image, "is_animated", False):
            what, option = "is an animation", "-coalesce "
        else:
            return
    raise ImageError(
        f"{path} {what}, expected a single picture; take out the one you want, for example with "
        f"ImageMagick: magick {path} {option}{path.stem}-%03d.png"
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


def check_sums(image: ImageFile) -> None:
    """Verify all checksums of a PNG; Pillow does not verify them during decoding.

    Do not use the picture afterwards.

    Raises:
        SyntaxError, OSError: a checksum is wrong, or the end is missing.
    """
    image.verify()


def facts(image: ImageFile, file: BinaryIO) -> dict[str, Any]:
    """Entries for ``info`` that Pillow does not read.

    ``lossless``: the WebP is lossless. ``cicp``: the colour space of a PNG. ``left_out``: a video
    or a gain map in the file of a photo.
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
    lost += [GAIN_MAP] if content[4:8] == b"ftyp" and b"tmap" in content[:64] else []
    return {"left_out": tuple(lost)} if lost else {}


def is_lossless_webp(file: BinaryIO) -> bool:
    """Whether a WebP is lossless; Pillow does not report this."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        if head[:4] in (b"VP8L", b"VP8 "):
            return head[:4] == b"VP8L"
        size = int.from_bytes(head[4:], "little")
        file.seek(size + size % 2, 1)
    return False


def damaged(path: Path | str, error: Exception | str) -> ImageError:
    """The error for a damaged file."""
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(
            f"{path} is larger than Pillow reads of its format ({said(error)}); convert it to "
            "PNG, or set PIL.Image.MAX_IMAGE_PIXELS in Python"
        )
    return ImageError(
        f"{path} is damaged or cut short ({said(error)}); open it in a viewer, or get it again"
    )


def said(error: Exception | str) -> str:
    """The message of an exception in one line, or its class name."""
    return " ".join(str(error).split())[:200] or type(error).__name__
