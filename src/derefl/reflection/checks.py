"""What the network and its pictures have to be, and what to type where they are not."""

from pathlib import Path
from typing import Any

from torch import Tensor

from derefl.errors import ImageError
from derefl.reflection.model import SMALLEST

TOLERANCE = 0.05
"""How far beyond [0, 1] a tensor's values may lie: what resizing and half precision make of it."""


def check_tensor(x: Any, weight: Tensor) -> None:
    """Refuse what the network was not made for.

    Args:
        x: what it is called with.
        weight: one of its own, whose type and device x must have.

    Raises:
        ImageError: says what is wrong with x, and what to type.
    """
    if not isinstance(x, Tensor):
        raise ImageError(
            f"got a {type(x).__name__}, expected a float tensor [b, 3, h, w]; pictures go through "
            "model.dereflect(image)"
        )
    if x.ndim != 4 or x.shape[1] != 3 or x.shape[0] == 0 or min(x.shape[2:]) < SMALLEST:
        raise ImageError(
            f"got a tensor of shape {list(x.shape)}, expected [b, 3, h, w] with b of at least 1, h "
            f"and w of at least {SMALLEST}; pictures of any size go through model.dereflect(image)"
        )
    if not x.is_floating_point():
        raise ImageError(f"got a tensor of {x.dtype}, expected floats in [0, 1]; try x / 255")
    if (x.dtype, x.device) != (weight.dtype, weight.device):
        raise ImageError(
            f"got a tensor of {x.dtype} on {x.device}, expected {weight.dtype} on {weight.device} "
            "as the model's weights; try x.to(next(model.parameters()))"
        )
    low, high = (value.item() for value in x.detach().aminmax())
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # so that NaN is refused
        raise ImageError(
            f"got a tensor with values from {low:.4g} to {high:.4g}, expected sRGB in [0, 1] and "
            "no NaN; divide 8-bit values by 255, or clip: x.clamp(0, 1)"
        )


def not_a_picture(image: Any) -> str:
    """What to type instead of something that is no PIL picture."""
    if isinstance(image, Tensor):
        hint = "call model(x) on tensors"
    elif isinstance(image, str | Path):
        hint = f"open it first: Image.open({str(image)!r})"
    elif hasattr(image, "__array_interface__"):
        hint = "make a picture of it first: Image.fromarray(array)"
    else:
        hint = 'pass a picture, for example Image.open("window.jpg"), or a list of them'
    return f"got a {type(image).__name__}, expected a PIL picture; {hint}"
