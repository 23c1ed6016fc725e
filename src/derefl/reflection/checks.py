"""Checks of the network's input."""

from typing import Any

from torch import Tensor

from derefl.errors import ImageError
from derefl.imaging import checks
from derefl.reflection.model import SMALLEST


def check_tensor(x: Any, weight: Tensor) -> None:
    """Check an input of the network.

    Args:
        x: the input.
        weight: a weight of the network; x must have its dtype and device.

    Raises:
        ImageError: x is invalid; the message states the problem and the next step.
    """
    if not isinstance(x, Tensor):
        raise ImageError(
            f"got a {type(x).__name__}, expected a float tensor [b, 3, h, w]; pictures go through "
            "model.dereflect(image)"
        )
    checks.check_tensor(x, SMALLEST, "model.dereflect(image)")
    if (x.dtype, x.device) != (weight.dtype, weight.device):
        raise ImageError(
            f"got a tensor of {x.dtype} on {x.device}, expected {weight.dtype} on {weight.device} "
            "as the model's weights; try x.to(next(model.parameters()))"
        )


def not_a_picture(image: Any) -> ImageError:
    """The error for an argument that is not a PIL picture."""
    return checks.not_a_picture(image, "a PIL picture", "call model(x) on tensors")
