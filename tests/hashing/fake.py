"""A fake of ``derefl.hashing.hasher.Hasher`` without learned weights.

The features of a picture are its mean colour, the features of a text the colours that it names, so
that "red" finds red pictures. The codes are the signs of a fixed random projection.
"""

import hashlib
from types import SimpleNamespace

import numpy as np

from derefl.hashing.pictures import Views, read

COLOURS = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "grey": (0.5, 0.5, 0.5),
    "white": (1, 1, 1),
    "black": (0, 0, 0),
}


class FakeHasher:
    """The methods of a Hasher; ``calls`` counts the encoded pictures."""

    def __init__(self, bits=64, name="fake"):
        self.bits, self.name = bits, name
        self.sha256 = hashlib.sha256(name.encode()).hexdigest()
        self.config = SimpleNamespace(image_size=8)
        self.calls = 0
        # Drawn for 128 bits, so that the 64-bit code is a prefix of the 128-bit code.
        self.projection = np.random.default_rng(0).normal(size=(128, 4))[:bits]

    def image_features(self, images, batch_size=32, progress=False):
        if hasattr(images, "ndim"):
            colours = np.asarray(images, np.float64).mean(axis=(2, 3))
        else:
            colours = [mean_colour(image) for image in images]
        self.calls += len(colours)
        return unit(colours)

    def text_features(self, texts, batch_size=256, progress=False):
        texts = [texts] if isinstance(texts, str) else texts
        return unit([named_colour(text) for text in texts])

    def image_embedding(self, images, batch_size=32, progress=False):
        return np.tanh(self.image_features(images) @ self.projection.T).astype(np.float32)

    def text_embedding(self, texts, batch_size=256, progress=False):
        return np.tanh(self.text_features(texts) @ self.projection.T).astype(np.float32)

    def encode_image(self, images, batch_size=32, progress=False):
        return np.packbits(self.image_embedding(images) > 0, axis=1)

    def encode_text(self, texts, batch_size=256, progress=False):
        return np.packbits(self.text_embedding(texts) > 0, axis=1)


def mean_colour(image):
    """[r g b] in [0, 1] of a picture, a path or bytes."""
    image = image.whole if isinstance(image, Views) else read(image)
    return np.asarray(image, np.float64).mean(axis=(0, 1)) / 255


def named_colour(text):
    """[r g b], the mean of the colours in the text; grey without any."""
    found = [COLOURS[word] for word in text.lower().split() if word in COLOURS]
    return np.mean(found or [COLOURS["grey"]], axis=0)


def unit(colours):
    """[n 3] in [0, 1] to float32 [n 4] of unit length, around mid-grey; the last is constant."""
    centred = np.asarray(colours, np.float64).reshape(-1, 3) - 0.5
    features = np.concatenate([centred, np.full((len(centred), 1), 0.05)], axis=1)
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def load_fake(source="lcdh-student", *, bits=64, **options):
    """The replacement of ``load_lcdh_student``."""
    return FakeHasher(bits, name=str(source))
