"""Make the pictures in pictures/through_glass: a photo with the reflection of another photo.

The reflected photo is blurred (the camera focuses on the scene behind the pane) and doubled (a pane
has two surfaces). Then both photos are added in linear light.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

PICTURES = Path(__file__).parent / "pictures"
SCENES = {  # scene: (reflected photo, strength, blur in pixels, mirrored)
    "coffee": ("meadow", 0.22, 2.0, False),
    "wine": ("mountains", 0.12, 2.5, True),
    "friends": ("stream", 0.30, 3.0, False),
    "brushes": ("church", 0.25, 1.5, True),
}


def linear(image: Image.Image) -> np.ndarray:
    """Linear light from sRGB, by the power 2.2."""
    return (np.asarray(image) / 255) ** 2.2


for name, (reflected, strength, blur, mirror) in SCENES.items():
    scene = Image.open(PICTURES / "layers" / f"{name}.jpg")
    reflection = ImageOps.fit(Image.open(PICTURES / "layers" / f"{reflected}.jpg"), scene.size)
    if mirror:
        reflection = ImageOps.mirror(reflection)
    reflection = reflection.filter(ImageFilter.GaussianBlur(blur))
    second = ImageChops.offset(reflection, 5, 3)
    light = 0.92 * linear(scene) + strength * (0.6 * linear(reflection) + 0.4 * linear(second))
    mixture = Image.fromarray((light.clip(0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8))
    mixture.save(PICTURES / "through_glass" / f"{name}.jpg", quality=92)
