"""Pictures from and to files, with what they carry: ICC profile, EXIF, XMP, resolution."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from derefl.errors import ImageError, OutputExistsError
from derefl.files import atomic_path
from derefl.imaging.metadata import XMP, descriptive_exif, upright


@dataclass(frozen=True)
class Format:
    """What a file format holds, and how it is written.

    Attributes:
        name: Pillow's name of it.
        modes: modes it holds without loss of depth or channels.
        transparent: those of them that it holds with transparency.
        stand_ins: modes written as another that holds the same colours.
        options: what ``Image.save`` is given.
    """

    name: str
    modes: frozenset[str]
    transparent: frozenset[str]
    stand_ins: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


JPEG = Format(
    "JPEG",
    modes=frozenset({"1", "L", "P", "RGB", "CMYK"}),
    transparent=frozenset(),
    stand_ins={"1": "L", "P": "RGB"},
    options={"quality": 95, "subsampling": 0},
)
PNG = Format(
    "PNG",
    modes=frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "I;16B"}),
    transparent=frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}),
    stand_ins={"I": "I;16"},
)
WEBP = Format(
    "WEBP",
    modes=frozenset({"1", "L", "LA", "P", "RGB", "RGBA"}),
    transparent=frozenset({"LA", "P", "RGBA"}),
    stand_ins={"1": "RGB", "L": "RGB", "LA": "RGBA"},
    options={"quality": 95, "exact": True},
)
TIFF = Format(
    "TIFF",
    modes=frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "I;16B"}),
    transparent=frozenset({"LA", "RGBA"}),
    options={"compression": "raw"},  # libtiff, which compresses, cannot write the EXIF block
)

FORMATS = {
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".png": PNG,
    ".tif": TIFF,
    ".tiff": TIFF,
    ".webp": WEBP,
}
"""By suffix, in lower case."""


def is_picture_name(path: Path) -> bool:
    """Whether the name ends like a format that derefl writes."""
    return path.suffix.lower() in FORMATS


def open_picture(path: str | Path) -> Image.Image:
    """Read a picture, decoded and :func:`~derefl.imaging.metadata.upright`.

    Any format that Pillow reads; of several frames, the first. (Pillow reads 16-bit *colour* as 8.)

    Raises:
        ImageError: no such file, a folder, not a picture, damaged, cut short or suspiciously large.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, expected a picture; name a file in it")
    try:
        with Image.open(path) as image:
            return upright(image)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: there is no such file; check the spelling") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not a picture that Pillow can read, expected for example a JPEG or PNG; "
            "convert it first"
        ) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} cannot be read: {error}") from error


def save_picture(image: Image.Image, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a picture with its ICC profile, EXIF, XMP and resolution; whole, or not at all.

    The suffix tells the format. JPEG and WebP are written at quality 95, JPEG without chroma
    subsampling; PNG and (uncompressed) TIFF lose nothing.

    Args:
        image: as :meth:`~derefl.reflection.pipeline.ReflectionRemover.dereflect` returns it.
        path: ``.jpg``, ``.png``, ``.tif`` or ``.webp``; missing folders are made.
        overwrite: replace a file that is there.

    Raises:
        OutputExistsError: the file is there and ``overwrite`` is off.
        ImageError: an unknown suffix, a format that cannot hold this picture, or a full disk.
    """
    path = Path(path)
    form = format_for(image, path)
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} is there already; overwrite it or choose another name")
    options = form.options | carried(image, form)
    if image.mode in form.stand_ins:
        image = image.convert(form.stand_ins[image.mode])
    try:
        with atomic_path(path) as temporary:
            image.save(temporary, format=form.name, **options)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be written: {error}") from error


def format_for(image: Image.Image, path: Path) -> Format:
    """The format that the suffix names, if it holds such a picture.

    Raises:
        ImageError: it does not, or there is no such suffix; the message names one that does.
    """
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise ImageError(
            f"{path} has the suffix {path.suffix or '(none)'}, expected one of "
            f"{', '.join(FORMATS)}; save it as {path.with_suffix('.png')}"
        )
    if not holds(form, image):
        other = next(suffix for suffix in (".png", ".tif") if holds(FORMATS[suffix], image))
        what = "transparency" if image.has_transparency_data else f"pictures of mode {image.mode}"
        raise ImageError(
            f"{path}: {form.name} cannot hold {what}; save it as {path.with_suffix(other)}"
        )
    return form


def holds(form: Format, image: Image.Image) -> bool:
    """Whether nothing of the picture's colours, depth and alpha is lost in this format."""
    return image.mode in (form.transparent if image.has_transparency_data else form.modes)


def carried(image: Image.Image, form: Format) -> dict[str, Any]:
    """Options for ``Image.save``, which drops these unless it is told each of them.

    Pillow before 11 reads and writes XMP in some formats only.
    """
    info = image.info
    options = {key: info[key] for key in ("icc_profile", "exif", "dpi") if info.get(key)}
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if form is TIFF:
        # Its EXIF tags are the file's own: only those that do not describe another file's layout.
        exif = Image.Exif()
        exif.load(options.get("exif", b""))
        exif = descriptive_exif(exif)
        if isinstance(xmp, bytes):
            exif[XMP] = xmp
        options["exif"] = exif.tobytes()
    elif isinstance(xmp, bytes) and form is PNG:
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", errors="replace"))
        options["pnginfo"] = text
    elif isinstance(xmp, bytes) and len(xmp) < 65_000:  # a JPEG segment holds no more
        options["xmp"] = xmp
    return options
