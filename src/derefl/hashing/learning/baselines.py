"""Classical hashing of given features: random hyperplanes, ITQ, CCA + ITQ, and random codes.

Each method is fitted on pairs of picture and text features, one pair per row, and then gives packed
codes of both. The features of each modality are centred by their own training mean: in a joint
space the two modalities form separate clouds, and uncentred signs would mostly encode the modality
(our choice; it improves the baselines).
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from derefl.errors import ConfigError
from derefl.hashing.codes import pack

ITERATIONS = 50
REGULARISATION = 1e-2


@dataclass(frozen=True)
class Projection:
    """Two affine maps to signs, one per modality. All baselines have this form.

    Attributes:
        image_mean, text_mean: float ``[d]``, subtracted from the features first.
        image_map, text_map: float ``[d bits]``.
    """

    image_mean: np.ndarray
    text_mean: np.ndarray
    image_map: np.ndarray
    text_map: np.ndarray

    def encode_image(self, features: np.ndarray) -> np.ndarray:
        """``[n d]`` features to packed codes uint8 ``[n bits/8]``."""
        return pack((features - self.image_mean) @ self.image_map)

    def encode_text(self, features: np.ndarray) -> np.ndarray:
        """``[n d]`` features to packed codes uint8 ``[n bits/8]``."""
        return pack((features - self.text_mean) @ self.text_map)


@dataclass(frozen=True)
class LSH(Projection):
    """Signs of random projections (Charikar, 2002), the same for both modalities."""

    joint: ClassVar[bool] = True

    @classmethod
    def fit(cls, images: np.ndarray, texts: np.ndarray, bits: int, seed: int = 0) -> "LSH":
        """Draw the hyperplanes. Only the means of the features are used.

        Args:
            images, texts: float ``[n d]`` in one space; row i of both is one pair.
            bits: length of the codes.
            seed: of the draw.

        Raises:
            ConfigError: the features have different widths or numbers of rows.
        """
        check_pairs(images, texts, joint=True)
        planes = np.random.default_rng(seed).standard_normal((images.shape[1], bits))
        return cls(images.mean(axis=0), texts.mean(axis=0), planes, planes)


@dataclass(frozen=True)
class ITQ(Projection):
    """Iterative quantisation (Gong & Lazebnik, CVPR 2011): PCA, then the best rotation to signs.

    Attributes:
        rotation: float ``[bits bits]``, orthogonal.
        errors: mean squared distance to the signs before each iteration and after the last.
    """

    rotation: np.ndarray = field(repr=False)
    errors: tuple[float, ...] = field(repr=False)

    @classmethod
    def fit(cls, images: np.ndarray, texts: np.ndarray, bits: int, seed: int = 0) -> "ITQ":
        """Fit on the features of both modalities together.

        Args:
            images, texts: float ``[n d]`` in one space; row i of both is one pair.
            bits: length of the codes, at most d.
            seed: of the initial rotation.

        Raises:
            ConfigError: the features have different widths or numbers of rows, or d < ``bits``.
        """
        check_pairs(images, texts, joint=True)
        check_bits(bits, images.shape[1], "ITQ")
        image_mean, text_mean = images.mean(axis=0), texts.mean(axis=0)
        centred = np.concatenate([images - image_mean, texts - text_mean])
        principal = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :bits]
        rotation, errors = rotate_to_signs(centred @ principal, seed)
        both = principal @ rotation
        return cls(image_mean, text_mean, both, both, rotation, errors)


@dataclass(frozen=True)
class CCAITQ(Projection):
    """CCA of the two modalities, scaled by the correlations, then ITQ's rotation (same paper).

    Attributes:
        correlations: canonical correlations, float ``[bits]``, in falling order.
        rotation, errors: as in :class:`ITQ`.
    """

    correlations: np.ndarray = field(repr=False)
    rotation: np.ndarray = field(repr=False)
    errors: tuple[float, ...] = field(repr=False)

    @classmethod
    def fit(
        cls,
        images: np.ndarray,
        texts: np.ndarray,
        bits: int,
        seed: int = 0,
        regularisation: float = REGULARISATION,
    ) -> "CCAITQ":
        """Fit on pairs. The two modalities may have features of different widths.

        Args:
            images, texts: float ``[n d]`` and ``[n e]``; row i of both is one pair.
            bits: length of the codes, at most d and e.
            seed: of the initial rotation.
            regularisation: added to the variances, as a share of their mean.

        Raises:
            ConfigError: the features have different numbers of rows, or d or e < ``bits``.
        """
        check_pairs(images, texts, joint=False)
        check_bits(bits, min(images.shape[1], texts.shape[1]), "CCA + ITQ")
        image_mean, text_mean = images.mean(axis=0), texts.mean(axis=0)
        x, y = images - image_mean, texts - text_mean
        image_map, text_map, correlations = canonical_directions(x, y, regularisation)
        correlations = correlations[:bits]
        image_map, text_map = (m[:, :bits] * correlations for m in (image_map, text_map))
        projected = np.concatenate([x @ image_map, y @ text_map])
        rotation, errors = rotate_to_signs(projected, seed)
        return cls(
            image_mean,
            text_mean,
            image_map @ rotation,
            text_map @ rotation,
            correlations,
            rotation,
            errors,
        )


BASELINES: dict[str, type[LSH] | type[ITQ] | type[CCAITQ]] = {
    "lsh": LSH,
    "itq": ITQ,
    "cca_itq": CCAITQ,
}


def random_codes(n: int, bits: int, seed: int) -> np.ndarray:
    """Random codes, packed uint8 ``[n bits/8]``: their score is chance."""
    return np.random.default_rng(seed).integers(0, 256, (n, bits // 8), dtype=np.uint8)


def rotate_to_signs(
    projected: np.ndarray, seed: int, iterations: int = ITERATIONS
) -> tuple[np.ndarray, tuple[float, ...]]:
    """The rotation R that brings V R close to its own signs B: min ‖B − V R‖² over both in turn.

    B = sign(V R); then R = W Uᵀ, where U S Wᵀ = Bᵀ V (orthogonal Procrustes). No step increases the
    error.

    Args:
        projected: V, centred, float ``[n bits]``.
        seed: of the random initial rotation.
        iterations: rounds of the two steps; 50 in the paper.

    Returns:
        R ``[bits bits]``, and the mean of ‖B − V R‖² over rows before each round and at the end.
    """
    bits = projected.shape[1]
    projected = projected.astype(np.float64)
    # The squared error depends on scale; with V of unit size per bit, errors are comparable.
    projected = projected / max(float(np.sqrt(np.mean(projected**2))), 1e-12)
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((bits, bits)))[0]
    errors = []
    for _ in range(iterations):
        rotated = projected @ rotation
        signs = np.where(rotated > 0, 1.0, -1.0)
        errors.append(float(np.mean(np.sum((signs - rotated) ** 2, axis=1))))
        u, _, wt = np.linalg.svd(signs.T @ projected)
        rotation = (u @ wt).T
    rotated = projected @ rotation
    errors.append(float(np.mean(np.sum((np.where(rotated > 0, 1, -1) - rotated) ** 2, axis=1))))
    return rotation, tuple(errors)


def canonical_directions(
    x: np.ndarray, y: np.ndarray, regularisation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions in which two centred sets of features correlate the most (Hotelling, 1936).

    With Cxx = XᵀX/n + ρI, Cyy = YᵀY/n + ρI and Cxy = XᵀY/n: the left singular vectors of
    Cxx^−½ Cxy Cyy^−½, multiplied by Cxx^−½, and the right ones, multiplied by Cyy^−½.

    Args:
        x, y: float ``[n d]`` and ``[n e]``, centred; row i of both is one pair.
        regularisation: ρ as a share of the mean variance.

    Returns:
        Directions ``[d k]`` and ``[e k]``, of unit variance under the regularised covariance, and
        their correlations ``[k]`` in falling order; k = min(d, e).
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    whiten_x, whiten_y = whitening(x, regularisation), whitening(y, regularisation)
    u, correlations, vt = np.linalg.svd(whiten_x @ (x.T @ y / len(x)) @ whiten_y)
    k = len(correlations)
    return whiten_x @ u[:, :k], whiten_y @ vt[:k].T, correlations


def whitening(x: np.ndarray, regularisation: float) -> np.ndarray:
    """(XᵀX/n + ρ·mean variance·I)^−½, ``[d d]``."""
    covariance = x.T @ x / len(x)
    size = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    values, vectors = np.linalg.eigh(covariance + regularisation * size * np.eye(len(covariance)))
    # Without regularisation, a dependent column has variance 0, and no scale makes that 1.
    return (vectors / np.sqrt(np.maximum(values, 1e-9 * size))) @ vectors.T


def check_pairs(images: np.ndarray, texts: np.ndarray, joint: bool) -> None:
    """Refuse different numbers of rows and, if ``joint``, different widths."""
    if len(images) != len(texts) or not len(images):
        raise ConfigError(
            f"got features of {len(images)} pictures and {len(texts)} texts, expected pairs, row "
            "by row; repeat a picture's for each of its captions"
        )
    if joint and images.shape[1] != texts.shape[1]:
        raise ConfigError(
            f"got {images.shape[1]} numbers a picture and {texts.shape[1]} a text, expected one "
            "joint space; use CCA + ITQ"
        )


def check_bits(bits: int, width: int, name: str) -> None:
    """Refuse more bits than directions."""
    if bits > width:
        raise ConfigError(
            f"{name} makes at most one bit a feature: got {bits} bits and {width} features; ask "
            f"for codes of at most {width} bits"
        )
