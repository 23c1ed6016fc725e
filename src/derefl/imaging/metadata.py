"""Metadata of pictures, kept consistent with the pixels: EXIF, XMP, IPTC and texts."""

import re
import struct
from contextlib import nullcontext
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from derefl.errors import ImageError
from derefl.imaging.exif import ORIENTATION, descriptive_exif, tiff_exif, upright_exif
from derefl.imaging.formats import HEIF, JPEG, PNG, TIFF, Format
from derefl.imaging.opening import damaged_picture, quiet
from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture
from derefl.imaging.xmp import (
    DEPTH,
    GAIN_MAP,
    SEGMENT,
    joined_xmp,
    segments,
    true_xmp,
    xmp_segments,
)

HDR = {16: "PQ", 18: "HLG"}
"""The transfer curves of HDR, by their number in HEIC, AVIF, PNG and ICC profiles."""

XMP, SAMPLES, IPTC, PHOTOSHOP = 0x02BC, 0x0115, 0x83BB, 0x8649
IPTC_RESOURCE = 0x0404

STALE_RESOURCES = (0x03ED, 0x0409, 0x040C, 0x040F, 0x0422, 0x0423, 0x0424)
"""Parts of Photoshop's data that contain a small copy of the input, or that the file stores
elsewhere: resolution, profile, EXIF, XMP."""

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
def upright(image: SixteenBitPicture) -> SixteenBitPicture: ...


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
    if isinstance(image, SixteenBitPicture):
        carrier = Image.new("L", (1, 1))
        carrier.info = image.info
        turn, info = upright_info(carrier, image.size)
        return SixteenBitPicture(turned(image.pixels, turn), info)
    loaded(image)
    if 0 in image.size:
        raise ImageError(
            f"got a picture of {image.width}×{image.height} pixels, expected at least 1×1"
        )
    turn, info = upright_info(image, image.size)
    result = image.copy() if turn is None else image.transpose(turn)
    result.info = info
    return result


def loaded(image: Image.Image) -> Image.Image:
    """The same picture, decoded; a damaged file is an ImageError."""
    try:
        with quiet() if warns(image) else nullcontext():
            image.load()
    except MemoryError:
        raise
    except Exception as error:  # a decoder may raise any exception
        raise damaged_picture(getattr(image, "filename", "") or "the picture", error) from error
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


def texts(info: dict[Any, Any]) -> dict[str, str]:
    """The text chunks of a PNG."""
    return {
        key: value
        for key, value in info.items()
        if isinstance(key, str) and isinstance(value, str) and not NOT_TEXT.fullmatch(key)
    }


def hdr_curve(info: dict[Any, Any]) -> str | None:
    """``PQ`` or ``HLG`` if the pixels have one of these transfer curves."""
    profile = re.search(rb"cicp\0{4}.(.)", info.get("icc_profile") or b"", re.DOTALL)
    numbers = (
        info.get("nclx_profile", {}).get("transfer_characteristics"),
        info.get("cicp", bytes(4))[1],
        profile[1][0] if profile else None,
    )
    return next((HDR[number] for number in numbers if number in HDR), None)


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
