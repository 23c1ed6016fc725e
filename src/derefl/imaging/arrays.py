"""The photos that a user can pass: PIL pictures, paths, bytes and arrays."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from derefl.errors import ImageError
from derefl.imaging.files import open_picture
from derefl.imaging.formats import OPAQUE, on_background
from derefl.imaging.metadata import upright
from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture

StrPath = str | os.PathLike[str]
Bytes = bytes | bytearray | memoryview
Array = NDArray[np.uint8] | NDArray[np.uint16]
Mask = Picture | Array | NDArray[np.bool_] | StrPath | Bytes | None


def as_picture(
    image: Any, *, first_frame: bool = False, tensors: str = "call model(x) on tensors"
) -> Picture:
    """A photo of any supported type as an upright picture.

    Args:
        image: a picture, a path, the bytes of a file, or an array.
        first_frame: as in :func:`~derefl.imaging.files.open_picture`.
        tensors: the advice in the error for a tensor.

    Raises:
        ImageError: another type or array, or the file cannot be read.
    """
    if isinstance(image, Bytes | str | os.PathLike):
        file = bytes(image) if isinstance(image, Bytes) else os.fsdecode(image)
        return open_picture(file, first_frame=first_frame)
    if isinstance(image, np.ndarray):
        return from_array(image)
    if not isinstance(image, Image.Image | SixteenBitPicture):
        hint = 'pass a picture, for example Image.open("window.jpg"), or a list of them'
        raise ImageError(
            f"got a {type(image).__name__}, expected a picture, an array, a path or bytes; "
            f"{tensors if isinstance(image, Tensor) else hint}"
        )
    return upright(image)


def as_mask(mask: Any) -> Picture:
    """A mask as an upright picture; its transparent parts become black.

    Args:
        mask: as for :func:`as_picture`, or a boolean array.
    """
    boolean = isinstance(mask, np.ndarray) and mask.dtype == bool
    picture = as_picture(mask * np.uint8(255) if boolean else mask)
    clear = picture.mode in OPAQUE and picture.has_transparency_data
    return on_background(picture, "black") if clear else picture


def from_array(array: NDArray[Any]) -> Picture:
    """The picture with the values of an array."""
    channels = array.shape[2] if array.ndim == 3 else 1
    known = array.dtype in (np.uint8, np.uint16) and array.ndim in (2, 3) and array.size
    if not known or (array.ndim == 3 and channels not in (3, 4)):
        raise ImageError(
            f"got an array of {array.dtype} {list(array.shape)}, expected uint8 or uint16 of shape "
            "[h, w], [h, w, 3] or [h, w, 4]; for floats in [0, 1]: (array * 255).astype('uint8')"
        )
    if array.dtype == np.uint16 and array.ndim == 3:
        return SixteenBitPicture(array)
    return Image.fromarray(np.ascontiguousarray(array))


def to_array(picture: Picture) -> Array:
    """The values of a picture."""
    if isinstance(picture, SixteenBitPicture):
        return picture.pixels
    array = np.array(picture)
    return array if array.dtype == np.uint8 else array.astype(np.uint16)
