"""What the network takes, and what to type where something else comes."""

from typing import Any

from torch import Tensor

from derefl.errors import ImageError
from derefl.imaging import checks
from derefl.reflection.model import SMALLEST


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
    checks.check_tensor(x, SMALLEST, "model.dereflect(image)")
    if (x.dtype, x.device) != (weight.dtype, weight.device):
        raise ImageError(
            f"got a tensor of {x.dtype} on {x.device}, expected {weight.dtype} on {weight.device} "
            "as the model's weights; try x.to(next(model.parameters()))"
        )


def not_a_picture(image: Any) -> ImageError:
    """The error for something that is no PIL picture."""
    return checks.not_a_picture(image, "a PIL picture", "call model(x) on tensors")
