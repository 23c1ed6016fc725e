"""Make the pictures of docs/limits.md: composites that ``derefl remove`` does not clean.

As in make_composites.py, two photographs are added in linear light. Here the reflections are sharp,
as bright as the scene, or overexposed. Some photos have no reflection and should stay unchanged.
After a change of the weights, run this script again and compare with docs/limits.md.
"""

import io
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
    """A scene behind a pane, and the reflection in the pane.

    Attributes:
        scene: picture below pictures/, without suffix.
        reflected: the reflected picture; none by default.
        strength: factor on the light of the reflection.
        blur: Gaussian blur of the reflection in pixels.
        scene_blur: Gaussian blur of the scene in pixels.
        mist: share of the scene's light that mist absorbs. The mist is part of the scene, and adds
            half as much light.
        glass: share of red, green and blue light that passes the pane.
        quality: JPEG quality of the photo; 0 means lossless.
    """

    scene: str
    reflected: str = ""
    strength: float = 0.0
    blur: float = 0.0
    scene_blur: float = 0.0
    mist: float = 0.0
    glass: tuple[float, float, float] = (0.92, 0.92, 0.92)
    quality: int = 0


AIR = (1.0, 1.0, 1.0)
PANES = {
    "in-focus": Pane("layers/friends", "layers/church", 0.6, 0.3),
    "as-bright": Pane("layers/meadow", "layers/friends", 0.9, 0.5),
    "burnt-out": Pane("layers/friends", "search/rocket", 3.0, 0.5),
    "small-and-bright": Pane("layers/wine", "search/coins", 0.4),
    "full-of-detail": Pane("layers/brushes", "layers/stream", 0.5, 0.3),
    "blurred-scene": Pane("layers/coffee", "layers/stream", 0.03, 2.0, scene_blur=8.0),
    "mist": Pane("search/temple", mist=0.45, glass=AIR),
    "glow": Pane("search/rocket", glass=AIR),
    "tinted": Pane("layers/meadow", glass=(0.45, 0.7, 0.5)),
    "compressed": Pane("layers/church", "search/flower", 0.35, 1.5, quality=8),
}


def light(image: Image.Image) -> np.ndarray:
    """Linear light from sRGB, by the power 2.2."""
    return (np.asarray(image) / 255) ** 2.2


def picture(name: str, blur: float) -> Image.Image:
    """A picture below pictures/, blurred."""
    image = Image.open(PICTURES / f"{name}.jpg").convert("RGB")
    return image.filter(ImageFilter.GaussianBlur(blur)) if blur else image


def srgb(values: np.ndarray) -> Image.Image:
    """sRGB from linear light."""
    return Image.fromarray((values.clip(0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8))


def seen(pane: Pane) -> tuple[Image.Image, Image.Image]:
    """The scene without the pane, and the photo through the pane."""
    behind = (1 - pane.mist) * light(picture(pane.scene, pane.scene_blur)) + 0.5 * pane.mist
    scene = srgb(behind)
    through = np.asarray(pane.glass) * behind
    if pane.reflected:
        reflection = ImageOps.fit(picture(pane.reflected, pane.blur), scene.size)
        through = through + pane.strength * light(reflection)
    photo = srgb(through)
    if pane.quality:
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=pane.quality)
        photo = Image.open(file).convert("RGB")
    return scene, photo


def psnr(a: Image.Image, b: Image.Image) -> float:
    """PSNR in dB; infinite for equal pictures."""
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    error = float(np.mean(difference**2))
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def main() -> None:
    """Write a picture for each pane, and print the PSNR of input and output."""
    model = load_derefl()
    OUT.mkdir(parents=True, exist_ok=True)
    for name, pane in PANES.items():
        scene, photo = seen(pane)
        clean = model.dereflect(photo)
        parts = {"scene": scene, "photo": photo, "derefl remove": clean}
        small = {label: ImageOps.contain(part, (WIDTH, WIDTH)) for label, part in parts.items()}
        side_by_side(small).save(OUT / f"{name}.jpg", quality=85)
        print(f"{name}: {psnr(photo, scene):.1f} → {psnr(clean, scene):.1f} dB")


if __name__ == "__main__":
    main()
