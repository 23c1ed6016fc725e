"""Metadata of pictures: orientation, EXIF and XMP, kept consistent with the pixels."""

import re
import struct
from contextlib import nullcontext, suppress
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from derefl.errors import ImageError
from derefl.imaging.deep import DeepPicture, Picture
from derefl.imaging.formats import HEIF, JPEG, PNG, TIFF, Format
from derefl.imaging.opening import damaged
from derefl.imaging.quiet import quiet
from derefl.imaging.xmp import (
    DEPTH,
    GAIN_MAP,
    SEGMENT,
    joined_xmp,
    segments,
    true_xmp,
    xmp_segments,
)

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD, XMP = 0x8769, 0x8825, 0x02BC

WIDTH, HEIGHT, PIXEL_WIDTH, PIXEL_HEIGHT = 0x0100, 0x0101, 0xA002, 0xA003
HDR = (16, 18)
"""HEIC's numbers for the transfer characteristics of PQ and HLG."""

PLACES = (0x9214, 0xA214)
"""EXIF tags with the position of the subject before rotation."""

THUMBNAIL, THUMBNAIL_LENGTH = 0x0201, 0x0202
SHORT, LONG = 3, 4
"""Number types in EXIF."""

SAMPLES, IPTC, PHOTOSHOP = 0x0115, 0x83BB, 0x8649
IPTC_RESOURCE = 0x0404

STALE_RESOURCES = (0x03ED, 0x0409, 0x040C, 0x040F, 0x0422, 0x0423, 0x0424)
"""Parts of Photoshop's data that contain a small copy of the input, or that the file stores
elsewhere: resolution, profile, EXIF, XMP."""

DESCRIPTIVE = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x011D, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749),
    *(0x8298, EXIF_IFD, GPS_IFD, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),
)
"""Tags that describe the photo: names, description, make, model, software, date, artist, computer,
rating, copyright, the EXIF and GPS blocks, and Windows' title, comment, author, keywords and
subject. The other tags of a TIFF describe the layout of the file."""

NOT_TEXT = re.compile("XML:com.adobe.xmp|Raw profile type (exif|APP1|icc)|xmp|compression")
"""Texts in ``info`` that are not text chunks of a PNG, or that contain EXIF, XMP or a profile."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

UNREADABLE = (SyntaxError, ValueError, TypeError, KeyError, AttributeError, struct.error, OSError)
"""Errors of Pillow and of the parser below for invalid EXIF."""


@overload
def upright(image: Image.Image) -> Image.Image: ...
@overload
def upright(image: DeepPicture) -> DeepPicture: ...


def upright(image: Picture) -> Picture:
    """Decode a picture and rotate or mirror its pixels to match the EXIF orientation.

    Args:
        image: a picture, decoded or not; the picture is not changed. Only the current frame counts.

    Returns:
        A copy with corrected ``info``: EXIF and XMP have the orientation 1, the width and height of
        the copy, no thumbnail, and no reference to a video or another part of the file.
        ``info["left_out"]`` lists the parts of the file that the copy does not have.

    Raises:
        ImageError: the file is damaged or truncated, or the picture has no pixels.
    """
    if isinstance(image, DeepPicture):
        carrier = Image.new("L", (1, 1))
        carrier.info = image.info
        turn, info = upright_info(carrier, image.size)
        return DeepPicture(turned(image.pixels, turn), info)
    loaded(image)
    if 0 in image.size:
        raise ImageError(f"got a picture of {image.width}×{image.height} pixels, expected some")
    turn, info = upright_info(image, image.size)
    result = image.copy() if turn is None else image.transpose(turn)
    result.info = info
    return result


def loaded(image: Image.Image) -> Image.Image:
    """The same picture, decoded.

    Raises:
        ImageError: the file is damaged or truncated.
    """
    try:
        with quiet() if warns(image) else nullcontext():
            image.load()
    except MemoryError:
        raise
    except Exception as error:  # a decoder may raise any exception
        raise damaged(getattr(image, "filename", "") or "the picture", error) from error
    return image


def warns(image: Image.Image) -> bool:
    """Whether Pillow may warn during decoding: about its size limit, or about a TIFF's EXIF."""
    pixels = image.width * image.height
    return image.format == "TIFF" or pixels > (Image.MAX_IMAGE_PIXELS or pixels)


def upright_info(
    image: Image.Image, size: tuple[int, int]
) -> tuple[Image.Transpose | None, dict[Any, Any]]:
    """The transposition for an upright picture, None if not needed, and the corrected ``info``."""
    info, lost = gathered(image)
    raw, turn = info.pop("exif", None), None
    try:
        with quiet():
            orientation = image.getexif().get(ORIENTATION, 1)
            upright_size = size[::-1] if orientation in TURNS and orientation > 4 else size
            if raw := raw or tiff_exif(image):
                info["exif"] = upright_exif(raw, upright_size, orientation in TURNS)
        turn, size = TURNS.get(orientation), upright_size
    except UNREADABLE:
        lost.append("EXIF that cannot be read")
    for key in ("xmp", "XML:com.adobe.xmp"):
        if isinstance(old := info.get(key), str | bytes):
            xmp, parts = true_xmp(
                old.encode() if isinstance(old, str) else old, size, turn is not None
            )
            info[key] = xmp.decode() if isinstance(old, str) else xmp
            lost += parts
    lost = lost or further_pictures(image)
    if lost:
        info["left_out"] = tuple(dict.fromkeys(lost))
    return turn, info


def gathered(image: Image.Image) -> tuple[dict[Any, Any], list[str]]:
    """A copy of ``image.info`` with all metadata of the file, and the names of unread parts.

    XMP is in ``xmp`` and IPTC in ``photoshop``, for all formats and versions of Pillow.
    """
    info = dict(image.info)
    lost = list(info.get("left_out", ()))
    if segments := getattr(image, "applist", None):
        xmp, parts = joined_xmp(data for name, data in segments if name == "APP1")
        if xmp:
            info["xmp"] = xmp
        lost += parts
    if tags := getattr(image, "tag_v2", None):
        blocks = image.get_photoshop_blocks() if PHOTOSHOP in tags else {}  # type: ignore[attr-defined]
        resources = {key: block["data"] for key, block in blocks.items()}
        if isinstance(iptc := tags.get(IPTC), bytes):
            resources[IPTC_RESOURCE] = iptc
        if resources:
            info["photoshop"] = resources
        if isinstance(tags.get(XMP), bytes):
            info["xmp"] = tags[XMP]
        if tags.get(SAMPLES, 1) > len(image.getbands()):
            lost.append("the extra channels")
    if "photoshop" in info:
        kept = {k: v for k, v in info["photoshop"].items() if k not in STALE_RESOURCES}
        info["photoshop"] = {key: value for key, value in kept.items() if isinstance(value, bytes)}
    return info, lost


def further_pictures(image: Image.Image) -> list[str]:
    """The further pictures in a JPEG or HEIF, without smaller copies."""
    info = image.info
    lost = [GAIN_MAP] if any("gainmap" in str(kind).lower() for kind in info.get("aux", ())) else []
    lost += [DEPTH] if info.get("depth_images") else []
    entries = getattr(image, "mpinfo", {}).get(0xB002, ())
    kinds = [entry["Attribute"]["MPType"] for entry in entries[1:]]
    if image.format == "HEIF":
        kinds = ["picture"] * (getattr(image, "n_frames", 1) - 1)
    if any(not kind.startswith("Large Thumbnail") for kind in kinds):
        lost.append("the further pictures")
    return lost


def turned(pixels: NDArray[Any], turn: Image.Transpose | None) -> NDArray[Any]:
    """``Image.transpose`` of an array ``[h w c]``."""
    if turn is None:
        return pixels.copy()
    places = np.arange(pixels.shape[0] * pixels.shape[1], dtype=np.int32)
    order = Image.fromarray(places.reshape(pixels.shape[:2])).transpose(turn)
    return pixels.reshape(-1, pixels.shape[2])[np.asarray(order)]


def tiff_exif(image: Image.Image) -> bytes:
    """The EXIF of a TIFF, collected from the file's tags."""
    exif = descriptive_exif(image.getexif())
    return exif.tobytes() if len(exif) else b""


def upright_exif(raw: bytes, size: tuple[int, int], turned: bool = False) -> bytes:
    """Correct EXIF for an upright picture, and keep all other bytes in place.

    Orientation becomes 1. Width and height are set if the block has them. The thumbnail is removed,
    and so is the position of the subject if the picture was turned. Pillow would write a new block
    and lose maker notes that use absolute offsets.

    Args:
        raw: the EXIF block.
        size: width and height of the picture.
        turned: whether the pixels were turned.

    Raises:
        ValueError, struct.error: not an EXIF block, or a truncated block.
    """
    tiff = bytearray(re.sub(rb"^(Exif\0\0)+", b"", raw))
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        raise ValueError("not an EXIF block")
    order = "<" if tiff[:2] == b"II" else ">"
    width, height = size
    facts = {ORIENTATION: 1, WIDTH: width, HEIGHT: height, PIXEL_WIDTH: width, PIXEL_HEIGHT: height}

    def table(place: int) -> dict[int, int]:
        """Correct the tags at an offset; return the values that are numbers or offsets."""
        (count,) = struct.unpack_from(f"{order}H", tiff, place)
        start, end = place + 2, place + 2 + 12 * count
        kept, values = bytearray(), {}
        for at in range(start, end, 12):
            tag, kind, length, value = struct.unpack_from(f"{order}HHII", tiff, at)
            if kind == SHORT:
                (value,) = struct.unpack_from(f"{order}H", tiff, at + 8)
            if tag in facts and value != facts[tag]:
                kind, length, value = LONG if facts[tag] > 65535 else SHORT, 1, facts[tag]
                form = "HHIHxx" if kind == SHORT else "HHII"
                struct.pack_into(f"{order}{form}", tiff, at, tag, kind, length, value)
            values[tag] = value
            if not (turned and tag in PLACES):
                kept += tiff[at : at + 12]
        struct.pack_into(f"{order}H", tiff, place, len(kept) // 12)
        link = tiff[end : end + 4]
        tiff[start : end + len(link)] = (kept + link).ljust(end + len(link) - start, b"\0")
        return values

    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    end = first + 2 + 12 * count
    (small,) = struct.unpack_from(f"{order}I", tiff, end)
    struct.pack_into(f"{order}I", tiff, end, 0)
    values = table(first)
    with suppress(struct.error):  # keep the rest of the block if an offset is invalid
        if EXIF_IFD in values:
            table(values[EXIF_IFD])
        values = table(small) if small else {}
        start, length = values.get(THUMBNAIL, 0), values.get(THUMBNAIL_LENGTH, 0)
        last = start + length >= len(tiff)
        tiff[start : start + length] = b"" if last else bytes(length)
    return b"Exif\0\0" + bytes(tiff)


def tiff_block(raw: bytes, info: dict[Any, Any]) -> bytes:
    """The tags of a TIFF: descriptive EXIF tags (if EXIF can be parsed), XMP and IPTC."""
    exif, kept = Image.Exif(), Image.Exif()
    try:
        with quiet():
            exif.load(raw)
            kept = descriptive_exif(exif)
            kept.tobytes()
    except UNREADABLE:
        kept = Image.Exif()
    if xmp := xmp_of(info):
        kept[XMP] = xmp
    resources = dict(info.get("photoshop", {}))
    if iptc := resources.pop(IPTC_RESOURCE, None):
        kept[IPTC] = iptc
    if resources:
        kept[PHOTOSHOP] = photoshop_block(resources)
    return kept.tobytes()


def jpeg_segments(info: dict[Any, Any]) -> bytes:
    """The JPEG segments for XMP, IPTC, and EXIF that is too long for one segment."""
    exif, xmp, mark = info.get("exif") or b"", xmp_of(info), b"Exif\0\0"
    resources = photoshop_block(info.get("photoshop", {}))
    return b"".join(
        [
            segments(0xE1, mark, exif.removeprefix(mark)) if len(exif) > SEGMENT else b"",
            xmp_segments(xmp) if xmp else b"",
            segments(0xED, b"Photoshop 3.0\0", resources),
        ]
    )


def photoshop_block(resources: dict[int, bytes]) -> bytes:
    """Photoshop's data with IPTC, in the format of JPEG and TIFF."""
    return b"".join(
        b"8BIM" + struct.pack(">HHI", key, 0, len(data)) + data + bytes(len(data) % 2)
        for key, data in resources.items()
    )


def xmp_of(info: dict[Any, Any]) -> bytes:
    """The XMP of a picture, or empty bytes."""
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    return xmp.encode() if isinstance(xmp, str) else xmp


def descriptive_exif(exif: Image.Exif) -> Image.Exif:
    """Only the tags that are valid in a file with another format or layout."""
    kept = Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in exif:
            kept[tag] = exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else exif[tag]
    return kept


def texts(info: dict[Any, Any]) -> dict[str, str]:
    """The text chunks of a PNG."""
    return {
        key: value
        for key, value in info.items()
        if isinstance(key, str) and isinstance(value, str) and not NOT_TEXT.fullmatch(key)
    }


def left_out(image: Picture, form: Format) -> list[str]:
    """The parts of the input file that a new file in this format does not have."""
    info: dict[Any, Any] = image.info
    lost = list(info.get("left_out", ()))
    if info.get("photoshop") and form not in (JPEG, TIFF):
        lost.append("IPTC")
    if texts(info) and form is not PNG:
        names = [re.sub(r"[^\w -]", "?", key) for key in texts(info)]
        lost.append(f"text ({', '.join(names[:4])}{', …' if names[4:] else ''})")
    if isinstance(info.get("comment"), bytes) and form not in (JPEG, PNG):
        lost.append("the comment")
    if "cicp" in info and form is not PNG:
        lost.append("the colour space (cICP)")
    if info.get("nclx_profile", {}).get("transfer_characteristics") in HDR and form is not HEIF:
        lost.append("the colour space (HDR)")
    return lost
