"""Pictures from and to files, with what they carry: ICC profile, EXIF, XMP, resolution."""

import struct
from pathlib import Path
from typing import Any

from PIL import PngImagePlugin

from derefl.errors import DereflError, ImageError, OutputExistsError
from derefl.files import atomic_path
from derefl.imaging.deep import DeepPicture, Picture
from derefl.imaging.deep_files import is_deep, read_deep, write_png, write_tiff
from derefl.imaging.formats import HEIF, JPEG, PNG, TIFF, WEBP, Format, format_for
from derefl.imaging.metadata import jpeg_segments, left_out, texts, tiff_block, upright, xmp_of
from derefl.imaging.opening import (
    MAX_MEGAPIXELS,
    check_mode,
    check_single,
    check_size,
    check_sums,
    damaged,
    facts,
    open_file,
    read_header,
)


def open_picture(
    path: str | Path,
    max_megapixels: float = MAX_MEGAPIXELS,
    *,
    first_frame: bool = False,
) -> Picture:
    """Read a picture, decoded and :func:`~derefl.imaging.metadata.upright`.

    JPEG, PNG, WebP, TIFF, AVIF, HEIF (with the extra ``heic``), GIF and BMP; by what is in the
    file, whatever its name. docs/pictures.md says what becomes of each kind.

    Args:
        path: an ordinary file.
        max_megapixels: larger pictures are refused before they are decoded.
        first_frame: take the first picture of an animation or of a TIFF of several pages, which
            is refused otherwise.

    Returns:
        A PIL picture, or a :class:`~derefl.imaging.deep.DeepPicture` if it has 16 bits a channel
        and several channels.

    Raises:
        ImageError: no such file, a folder, not a picture, damaged, cut short, too large, or
            several pictures.
        MissingExtraError: HEIF, and the package that reads it is not installed.
    """
    path = Path(path)
    with open_file(path) as file:
        try:
            image = read_header(file, path)
            check_size(image, path, max_megapixels)
            check_mode(image, path)
            found = facts(image, file)
            if not first_frame:
                check_single(image, path)
            if image.format == "PNG":
                check_sums(image)
                image = read_header(file, path)
            image.info.update(found)
            if is_deep(image):
                return upright(read_deep(image, read_header(file, path)))
            return upright(image)
        except DereflError:
            raise
        except MemoryError as error:
            raise ImageError(f"{path} needs more memory than there is to be opened") from error
        except Exception as error:  # a parser raises whatever it trips over
            raise damaged(path, error) from error


def save_picture(
    image: Picture,
    path: str | Path,
    *,
    overwrite: bool = False,
    quality: int | None = None,
) -> list[str]:
    """Write a picture with its ICC profile, EXIF, XMP and resolution; whole, or not at all.

    The suffix tells the format. PNG and (uncompressed) TIFF lose nothing, nor does WebP if the
    picture comes from a WebP that lost nothing.

    Args:
        image: as :meth:`~derefl.reflection.pipeline.ReflectionRemover.dereflect` returns it.
        path: ``.jpg``, ``.png``, ``.tif``, ``.webp``, ``.avif`` or ``.heic``; missing folders are
            made.
        overwrite: replace a file that is there.
        quality: 1 to 100, of the formats that lose something; None is 95 for JPEG (without chroma
            subsampling) and WebP, 90 for AVIF and HEIF.

    Returns:
        What the file of the picture had and the new file has not: for example ``IPTC``, which WebP
        cannot hold, or the video of a motion photo.

    Raises:
        OutputExistsError: the file is there and ``overwrite`` is off.
        ImageError: an unknown suffix, a format that cannot hold this picture, or a full disk.
        MissingExtraError: HEIF, and the package that writes it is not installed.
    """
    path = Path(path)
    form = format_for(image, path)
    options = form.options | carried(image, form)
    if quality is not None and "quality" in options:
        options["quality"] = quality
    try:
        if path.exists() and not overwrite:
            raise OutputExistsError(f"{path} is there already; overwrite it or choose another name")
        with atomic_path(path) as temporary:
            write(image, temporary, form, options)
    except (OSError, ValueError, struct.error) as error:  # struct: over 4 GB of TIFF
        raise ImageError(f"{path} cannot be written: {error}") from error
    return left_out(image, form)


def write(image: Picture, path: Path, form: Format, options: dict[str, Any]) -> None:
    """Write a file that nobody sees yet."""
    if isinstance(image, DeepPicture):
        with path.open("wb") as file:
            (write_png if form is PNG else write_tiff)(image, file, options)
        return
    if image.mode in form.stand_ins:
        image = image.convert(form.stand_ins[image.mode])
    if form is HEIF:
        from pillow_heif import from_pillow

        from_pillow(image).save(path, **options)
    else:
        image.save(path, format=form.name, **options)


def carried(image: Picture, form: Format) -> dict[str, Any]:
    """Options for ``Image.save``, which drops these unless it is told each of them.

    Pillow before 11 reads and writes XMP in some formats only.
    """
    info: dict[Any, Any] = image.info
    options = {key: info[key] for key in ("icc_profile", "exif", "dpi") if info.get(key)}
    if form is TIFF:
        # Its EXIF tags are the file's own: only those that do not describe another file's layout.
        options["exif"] = tiff_block(options.get("exif", b""), info)
    elif form is PNG:
        options["pnginfo"] = png_chunks(info)
    elif form is JPEG:
        options |= {"xmp": b"", "extra": jpeg_segments(info)}  # Pillow's own XMP is one segment
    elif xmp := xmp_of(info):
        options["xmp"] = xmp
    if form is WEBP and info.get("lossless") is True:
        options["lossless"] = True
    return options


def png_chunks(info: dict[Any, Any]) -> PngImagePlugin.PngInfo:
    """The chunks of a PNG with texts, XMP, and the colours that the PNG says without a profile."""
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
