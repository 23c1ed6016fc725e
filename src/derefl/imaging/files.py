"""Read and write picture files with their metadata: ICC profile, EXIF, XMP and resolution."""

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin
from PIL.ImageFile import ImageFile

from derefl.errors import DereflError, ImageError
from derefl.files import atomic_file, check_output
from derefl.imaging.formats import HEIF, JPEG, PNG, TIFF, WEBP, Format, prepared
from derefl.imaging.metadata import jpeg_segments, left_out, texts, tiff_block, upright, xmp_of
from derefl.imaging.opening import (
    MAX_MEGAPIXELS,
    check_mode,
    check_single,
    check_size,
    damaged_picture,
    more_info,
    open_file,
    open_undecoded,
)
from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture
from derefl.imaging.sixteen_bit_files import is_sixteen_bit, read_sixteen_bit, write_png, write_tiff
from derefl.imaging.xmp import SEGMENT

CORNER = 16
"""Side in pixels of the part that :func:`check_picture` writes."""


def open_picture(
    path: str | Path | bytes,
    max_megapixels: float = MAX_MEGAPIXELS,
    *,
    first_frame: bool = False,
    least_side: int | None = None,
) -> Picture:
    """Read and decode a picture, and turn it :func:`~derefl.imaging.metadata.upright`.

    Formats: JPEG, PNG, WebP, TIFF, AVIF, HEIF (with the extra ``heic``), GIF and BMP. The content
    of the file decides, not its name. docs/pictures.md has details for each format.

    Args:
        path: a regular file, or the bytes of one.
        max_megapixels: larger pictures are refused before decoding.
        first_frame: read the first picture of an animation or of a TIFF with several pages. By
            default these files are refused.
        least_side: decode a JPEG at 1/2, 1/4 or 1/8 of its size, which is faster, if both sides
            keep at least this number of pixels. None: full size.

    Returns:
        A PIL picture, or a :class:`~derefl.imaging.sixteen_bit.SixteenBitPicture` for several
        channels of 16 bits.

    Raises:
        ImageError: no such file, a folder, not a picture, damaged, truncated, too large, or
            several pictures.
        MissingExtraError: the package for HEIF is not installed.
    """
    file = io.BytesIO(path) if isinstance(path, bytes) else open_file(Path(path))
    path = Path("the data") if isinstance(path, bytes) else Path(path)
    with file:
        try:
            image = open_undecoded(file, path)
            check_size(image, path, max_megapixels)
            check_mode(image, path)
            info = more_info(image, file)
            if not first_frame:
                check_single(image, path)
            if image.format == "PNG":
                image.verify()  # Pillow does not compare checksums during decoding
                image = open_undecoded(file, path)  # a verified picture cannot be decoded
            image.info.update(info)
            if least_side:
                image.draft(None, (least_side, least_side))
            if is_sixteen_bit(image):
                return upright(read_sixteen_bit(image, open_undecoded(file, path)))
            return upright(image)
        except DereflError:
            raise
        except MemoryError as error:
            raise ImageError(f"{path} needs more memory than this machine has") from error
        except Exception as error:  # a parser may raise any exception
            raise damaged_picture(path, error) from error


def save_picture(
    image: Picture,
    path: str | Path,
    *,
    overwrite: bool = False,
    quality: int | None = None,
    background: str | None = None,
) -> list[str]:
    """Write a picture with its ICC profile, EXIF, XMP and resolution, which ``Image.save`` drops.

    The suffix selects the format. PNG and TIFF (uncompressed) are lossless. WebP is lossless if the
    input was a lossless WebP. A fully opaque alpha channel is dropped if the format has no alpha.
    The file is written atomically: after an error, an existing file is unchanged.

    Args:
        image: a PIL picture or a :class:`~derefl.imaging.sixteen_bit.SixteenBitPicture`, for
            example from :meth:`~derefl.reflection.remover.ReflectionRemover.dereflect`.
        path: ``.jpg``, ``.png``, ``.tif``, ``.webp``, ``.avif`` or ``.heic``; missing folders are
            created.
        overwrite: replace an existing file and keep its permissions.
        quality: 1 to 100, for lossy formats; None means 95 for JPEG (without chroma subsampling)
            and WebP, and 90 for AVIF and HEIF.
        background: the colour behind a transparent picture of 8 bits if the format has no alpha,
            for example ``"white"`` or ``"#f0f0f0"``; None refuses such a picture.

    Returns:
        The parts of the input file that are lost: for example ``IPTC``, which WebP cannot store,
        or the video of a motion photo.

    Raises:
        OutputExistsError: the file exists and ``overwrite`` is off.
        ImageError: an unknown suffix, or a format that cannot store this picture.
        ConfigError: ``background`` is not a colour.
        OutputError: the file cannot be written, for example because the disk is full.
        MissingExtraError: the package for HEIF is not installed.
    """
    path = Path(path)
    check_output(path, overwrite)
    if not isinstance(image, Image.Image | SixteenBitPicture):
        raise ImageError(
            f"got a {type(image).__name__}, expected a picture; convert an array of 8 bits with "
            "Image.fromarray(array)"
        )
    if isinstance(image, ImageFile):  # from Image.open
        image = upright(image)
    form, image = prepared(image, path, background)
    with atomic_file(path) as file:
        write_picture(image, path, form, file, quality)
    return left_out(image, form)


def check_picture(image: Picture, path: str | Path, background: str | None = None) -> None:
    """Raise an error if a picture cannot be saved; call this before the work starts.

    A corner of the picture is written to memory, with all metadata.

    Raises:
        ImageError, ConfigError, MissingExtraError: as :func:`save_picture`.
    """
    path = Path(path)
    form, image = prepared(image, path, background)
    width, height = (min(side, CORNER) for side in image.size)
    if isinstance(image, SixteenBitPicture):
        corner: Picture = SixteenBitPicture(image.pixels[:height, :width], image.info)
    else:
        corner = image.crop((0, 0, width, height))
    write_picture(corner, path, form, io.BytesIO())


def write_picture(
    image: Picture, path: Path, form: Format, file: BinaryIO, quality: int | None = None
) -> None:
    """Write the bytes of a picture; ``path`` is for messages."""
    options = form.options | metadata_options(image, form)
    if quality is not None and "quality" in options:
        options["quality"] = quality
    try:
        if isinstance(image, SixteenBitPicture):
            (write_png if form is PNG else write_tiff)(image, file, options)
            return
        if image.mode in form.stand_ins:
            image = image.convert(form.stand_ins[image.mode])
        if form is HEIF:
            from pillow_heif import from_pillow

            from_pillow(image).save(file, **options)
        else:
            image.save(file, format=form.name, **options)
    except (OSError, ValueError, RuntimeError, struct.error) as error:  # struct: a TIFF over 4 GB
        if isinstance(error, OSError) and error.errno:  # from the file, not from an encoder
            raise
        raise ImageError(f"{path} cannot be written: {error}") from error


def metadata_options(image: Picture, form: Format) -> dict[str, Any]:
    """Metadata as options for ``Image.save``, which drops all metadata by default.

    Pillow before 11 reads and writes XMP only in some formats.
    """
    info: dict[Any, Any] = image.info
    options = {key: info[key] for key in ("icc_profile", "exif", "dpi") if info.get(key)}
    if form is TIFF:
        # A TIFF's EXIF tags are the file's tags: keep only tags that do not describe a file layout.
        options["exif"] = tiff_block(options.get("exif", b""), info)
    elif form is PNG:
        options["pnginfo"] = png_chunks(info)
    elif form is JPEG:
        options |= {"xmp": b"", "extra": jpeg_segments(info)}  # Pillow writes only one segment each
        if len(options.get("exif", b"")) > SEGMENT:
            del options["exif"]
    elif xmp := xmp_of(info):
        options["xmp"] = xmp
    if form is WEBP and info.get("lossless") is True:
        options["lossless"] = True
    return options


def png_chunks(info: dict[Any, Any]) -> PngImagePlugin.PngInfo:
    """The PNG chunks for texts, XMP, and the colour space without an ICC profile."""
    chunks = PngImagePlugin.PngInfo()
    for name, key in ((b"gAMA", "gamma"), (b"cHRM", "chromaticity")):
        if key in info:
            values = info[key] if isinstance(info[key], tuple) else (info[key],)
            numbers = [round(value * 100_000) for value in values]
            chunks.add(name, struct.pack(f">{len(numbers)}I", *numbers))
    if "srgb" in info:
        chunks.add(b"sRGB", bytes([info["srgb"]]))
    if "cicp" in info:
        chunks.add(b"cICP", info["cicp"])
    if xmp := xmp_of(info):
        chunks.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", errors="replace"))
    for key, text in texts(info).items():
        chunks.add_text(key, text)
    if isinstance(comment := info.get("comment"), bytes):
        chunks.add_text("Comment", comment.decode("utf-8", errors="replace"))
    return chunks
