"""Make the pictures of docs/limits.md: composites that ``derefl remove`` does not clean.

As in make_composites.py two photographs are added in linear light, but as a pane seldom is kind
enough to: in focus, as bright as the scene, burnt out. Run it again when the weights have changed,
and look at what docs/limits.md says of each.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from derefl import load_derefl
from derefl.imaging.compare import side_by_side

PICTURES = Path(__file__).parent / "pictures"
OUT = Path(__file__).parents[1] / "docs" / "pictures" / "limits"
WIDTH = 290


@dataclass(frozen=True)
class Pane:
    """What is seen through a pane, and in it.

    Attributes:
        scene, reflected: pictures below pictures/, without their ending.
        strength: light of the reflection, as a factor; that of the scene is .92.
        blur: of the reflection, Gaussian, in pixels.
        scene_blur: of the scene.
    """

    scene: str
    reflected: str
    strength: float
    blur: float = 0.0
    scene_blur: float = 0.0


PANES = {
    "in-focus": Pane("layers/friends", "layers/church", 0.6, 0.3),
    "as-bright": Pane("layers/meadow", "layers/friends", 0.9, 0.5),
    "burnt-out": Pane("layers/friends", "search/rocket", 3.0, 0.5),
    "small-and-bright": Pane("layers/wine", "search/coins", 0.4),
    "blurred-scene": Pane("layers/coffee", "layers/stream", 0.03, 2.0, scene_blur=8.0),
}


def light(image: Image.Image) -> np.ndarray:
    """Light from sRGB, by the 2.2 power."""
    return (np.asarray(image) / 255) ** 2.2


def picture(name: str, blur: float) -> Image.Image:
    """A picture below pictures/, blurred."""
    image = Image.open(PICTURES / f"{name}.jpg").convert("RGB")
    return image.filter(ImageFilter.GaussianBlur(blur)) if blur else image


def psnr(a: Image.Image, b: Image.Image) -> float:
    """In dB."""
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def main() -> None:
    """Write a picture for each pane, and print how far before and after are from the scene."""
    model = load_derefl()
    OUT.mkdir(parents=True, exist_ok=True)
    for name, pane in PANES.items():
        scene = picture(pane.scene, pane.scene_blur)
        reflection = ImageOps.fit(picture(pane.reflected, pane.blur), scene.size)
        mixed = (0.92 * light(scene) + pane.strength * light(reflection)).clip(0, 1)
        photo = Image.fromarray((mixed ** (1 / 2.2) * 255).round().astype(np.uint8))
        clean = model.dereflect(photo)
        parts = {"scene": scene, "photo": photo, "derefl remove": clean}
        small = {label: ImageOps.contain(part, (WIDTH, WIDTH)) for label, part in parts.items()}
        side_by_side(small).save(OUT / f"{name}.jpg", quality=85)
        print(f"{name}: {psnr(photo, scene):.1f} → {psnr(clean, scene):.1f} dB")


if __name__ == "__main__":
    main()
