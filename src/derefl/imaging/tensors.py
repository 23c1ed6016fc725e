"""Convert between pictures and float tensors, without loss of depth."""

from collections.abc import Callable
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from derefl.errors import ImageError
from derefl.imaging.formats import unsupported
from derefl.imaging.metadata import hdr_curve
from derefl.imaging.palette import quantise
from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture

Array = NDArray[np.float32]

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue for grey, as in Pillow (ITU-R 601)."""

WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""16-bit grey modes; the mode of a 16-bit PNG depends on the version of Pillow."""

CONVERTIBLE = ("PA", "RGBX", "RGBa", "YCbCr", "HSV")
"""Further modes that Pillow converts to RGB without clipping."""

TOLERANCE = 0.05
"""Allowed distance of tensor values from [0, 1], for errors of resizing and half precision."""


def check_tensor(x: Tensor, smallest: int, pictures: str) -> None:
    """Raise ImageError unless a tensor is a batch of pictures: float ``[b 3 h w]``, sRGB in [0, 1].

    ``smallest`` is the least height and width; ``pictures`` is the call for pictures of any size.
    """
    if x.ndim != 4 or x.shape[1] != 3 or x.shape[0] == 0 or min(x.shape[2:]) < smallest:
        raise ImageError(
            f"got a tensor of shape {list(x.shape)}, expected [b, 3, h, w] with b of at least 1, h "
            f"and w of at least {smallest}; pictures of any size go through {pictures}"
        )
    if not x.is_floating_point():
        raise ImageError(f"got a tensor of {x.dtype}, expected floats in [0, 1]; try x / 255")
    low, high = (value.item() for value in x.detach().aminmax())
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # also true for NaN
        raise ImageError(
            f"got a tensor with values from {low:.4g} to {high:.4g}, expected sRGB in [0, 1] and "
            "no NaN; divide 8-bit values by 255, or clip: x.clamp(0, 1)"
        )


def to_tensor(image: Picture) -> Tensor:
    """The colours of a picture, without its alpha.

    Args:
        image: mode 1, L, LA, P, RGB, RGBA, CMYK, I;16 or I (as 16 bits), or a
            :class:`~derefl.imaging.sixteen_bit.SixteenBitPicture`.

    Returns:
        float32 ``[1 3 h w]`` in [0, 1]; a grey picture has three equal channels.

    Raises:
        ImageError: another mode, values above 16 bits in mode I, or HDR.
    """
    if curve := hdr_curve(image.info):
        raise ImageError(
            f"HDR with a {curve} curve is not supported, expected sRGB or another SDR profile; "
            "export an SDR copy from a photo editor"
        )
    return torch.from_numpy(colours(image)).permute(2, 0, 1)[None].contiguous()


@overload
def from_tensor(tensor: Tensor, like: Image.Image) -> Image.Image: ...
@overload
def from_tensor(tensor: Tensor, like: SixteenBitPicture) -> SixteenBitPicture: ...


def from_tensor(tensor: Tensor, like: Picture) -> Picture:
    """A picture with new colours and the mode, alpha and ``info`` of another picture.

    Unchanged colours are kept exactly. Details by mode:

    - RGBA, LA: alpha and the colour of fully transparent pixels are exactly those of ``like``.
    - L, LA, I;16, I: the luminance; 16 bits for I;16 and I. Mode 1: black below one half.
    - P: a new palette of at most 256 colours, unchanged alpha.
    - :class:`~derefl.imaging.sixteen_bit.SixteenBitPicture`: as RGB, RGBA or LA, in 16 bits.
    - CMYK: black is kept as far as the new colour allows; the other inks are computed.
    - A fully transparent colour (PNG's tRNS) marks the same pixels as in ``like``.

    Args:
        tensor: float ``[1 3 h w]``; values are clipped to [0, 1].
        like: the argument of :func:`to_tensor`; the source of mode, size, alpha and ``info``.
    """
    values = tensor[0].permute(1, 2, 0).float().cpu().clamp(0, 1).numpy()
    if isinstance(like, SixteenBitPicture):
        return SixteenBitPicture(sixteen_bit_like(values, like), dict(like.info))
    result = FROM_COLOURS[like.mode](values, like)
    if like.mode == "P":
        # These two entries refer to the old palette.
        old = {k: v for k, v in like.info.items() if k not in ("transparency", "background")}
        result.info = old | result.info
    else:
        result.info = dict(like.info)
    return result


def to_rgb(image: Picture) -> Image.Image:
    """Convert a picture to 8-bit RGB, as a viewer shows it on a white page.

    Alpha is composited over white. 16 bits are scaled to 8. The EXIF orientation is ignored: call
    :func:`~derefl.imaging.metadata.upright` first, or open the file with
    :func:`~derefl.imaging.files.open_picture`.

    Args:
        image: a picture with a mode that :func:`to_tensor` accepts, or a mode in
            :data:`CONVERTIBLE`. The picture is not changed.

    Returns:
        An RGB picture of the same size.

    Raises:
        ImageError: another mode, or values above 16 bits in mode I.
    """
    if isinstance(image, SixteenBitPicture):
        image = image.convert("RGBA")
    elif image.mode in WIDE:
        grey = sixteen_bits(image)
        shown = grey != image.info.get("transparency")
        image = SixteenBitPicture(np.dstack([grey, shown * np.uint16(65535)])).convert("RGBA")
    elif image.mode not in (*FROM_COLOURS, *CONVERTIBLE):
        raise unsupported(image.mode)
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def colours(image: Picture) -> Array:
    """:func:`to_tensor` as an array ``[h w 3]``."""
    if isinstance(image, SixteenBitPicture):
        return as_rgb(image.pixels.astype(np.float32) / np.float32(65535))
    mode = image.mode
    if mode not in FROM_COLOURS:
        raise unsupported(mode)
    if mode in WIDE:
        return as_rgb(sixteen_bits(image).astype(np.float32) / np.float32(65535))
    if mode == "P":
        image = image.convert("RGBA")
    elif mode == "1":
        image = image.convert("L")
    array = np.asarray(image).astype(np.float32)
    array /= 255
    if mode == "CMYK":
        return (1 - array[..., :3]) * (1 - array[..., 3:])
    return as_rgb(array)


def sixteen_bits(image: Image.Image) -> NDArray[np.uint16]:
    """The values ``[h w]`` of a grey picture in a mode of :data:`WIDE`."""
    array = np.asarray(image)
    if array.min() < 0 or array.max() > 65535:
        raise ImageError(
            f"got a picture of mode {image.mode} with values from {array.min()} to {array.max()}, "
            "expected 16 bits, 0 to 65535; scale the values first"
        )
    return array.astype(np.uint16)


def as_rgb(array: Array) -> Array:
    """Grey, grey and alpha, RGB or RGBA, ``[h w]`` or ``[h w c]``, to RGB."""
    array = array.reshape(*array.shape[:2], -1)
    if array.shape[2] < 3:
        return np.repeat(array[..., :1], 3, axis=2)
    return np.ascontiguousarray(array[..., :3])


def to_bytes(values: Array) -> NDArray[np.uint8]:
    """[0, 1] to 0 … 255, rounded."""
    return np.rint(values * 255).astype(np.uint8)


def rgb_like(values: Array, like: Image.Image) -> Image.Image:
    """New colours as RGB or RGBA."""
    return Image.fromarray(keep_transparency(to_bytes(values), np.asarray(like), like))


def grey_like(values: Array, like: Image.Image) -> Image.Image:
    """New colours as L or LA."""
    grey = to_bytes(values @ LUMINANCE)
    return Image.fromarray(keep_transparency(grey, np.asarray(like), like))


def sixteen_bit_like(values: Array, like: SixteenBitPicture) -> NDArray[np.uint16]:
    """New colours with 16 bits per channel."""
    if like.mode == "LA;16":
        values = values @ LUMINANCE
    return keep_transparency(np.rint(values * 65535).astype(np.uint16), like.pixels, like)


def bilevel_like(values: Array, like: Image.Image) -> Image.Image:
    """New colours as black and white."""
    return Image.fromarray(to_bytes(values @ LUMINANCE)).convert("1", dither=Image.Dither.NONE)


def wide_grey_like(values: Array, like: Image.Image) -> Image.Image:
    """New colours as 16-bit grey."""
    old = np.asarray(like)
    grey = np.rint(values @ LUMINANCE * 65535).astype(old.dtype)
    # frombytes, because the mode from fromarray depends on the version of Pillow
    return Image.frombytes(like.mode, like.size, keep_transparency(grey, old, like).tobytes())


def palette_like(values: Array, like: Image.Image) -> Image.Image:
    """At most 256 new colours."""
    old = np.asarray(like.convert("RGBA"))
    new = np.dstack([to_bytes(values), old[..., 3]])
    invisible = old[..., 3] == 0
    new[invisible] = old[invisible]  # no new palette colours for invisible pixels
    return quantise(new)


def inks_like(values: Array, like: Image.Image) -> Image.Image:
    """New colours as CMYK."""
    old = np.asarray(like)
    black = np.minimum(old[..., 3:].astype(np.float32) / 255, 1 - values.max(2, keepdims=True))
    inks = 1 - values / np.maximum(1 - black, 1e-6)
    new = to_bytes(np.concatenate([inks, black], axis=2).clip(0, 1))
    # Many ink mixtures give the same colour: keep the mixture of an unchanged colour.
    same = (np.abs(values - colours(like)) < 0.5 / 255).all(axis=2)
    new[same] = old[same]
    return Image.frombytes("CMYK", like.size, new.tobytes())


def keep_transparency(new: NDArray[Any], old: NDArray[Any], like: Picture) -> NDArray[Any]:
    """New colours with the transparency of the old pixels, which may have alpha in addition.

    Alpha is copied. Invisible pixels keep their colour; with a transparent colour, a change would
    make them visible.
    """
    if like.mode in ("LA", "RGBA", "LA;16", "RGBA;16"):
        alpha = old[..., -1:]
        new = np.concatenate([new.reshape(*new.shape[:2], -1), alpha], axis=2)
        return np.where(alpha == 0, old, new)
    key = like.info.get("transparency")
    if key is None or isinstance(key, bytes):
        return new
    hidden, clash = old == key, new == key
    if old.ndim == 3:
        hidden, clash = hidden.all(axis=2), clash.all(axis=2)
    new[clash] ^= 1
    new[hidden] = old[hidden]
    return new


FROM_COLOURS: dict[str, Callable[[Array, Image.Image], Image.Image]] = {
    "RGB": rgb_like,
    "RGBA": rgb_like,
    "L": grey_like,
    "LA": grey_like,
    "P": palette_like,
    "CMYK": inks_like,
    "1": bilevel_like,
    **dict.fromkeys(WIDE, wide_grey_like),
}
