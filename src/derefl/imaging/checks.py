"""Errors for invalid picture arguments."""

from typing import Any

from torch import Tensor

from derefl.errors import ImageError

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


def not_a_picture(got: Any, tensors: str) -> ImageError:
    """The error for an argument that is not a picture; ``tensors`` is the advice for a tensor."""
    hint = 'pass a picture, for example Image.open("window.jpg"), or a list of them'
    return ImageError(
        f"got a {type(got).__name__}, expected a picture, an array, a path or bytes; "
        f"{tensors if isinstance(got, Tensor) else hint}"
    )
