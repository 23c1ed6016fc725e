"""Classical hashing of given features: LSH, ITQ, CCA + ITQ, and random codes.

Each method is fitted on pairs of picture and text features, one pair per row. The features of each
modality are centred by their own training mean: in a joint space the two modalities form separate
clouds, and uncentred signs would mostly encode the modality (our choice; it improves the
baselines).
"""

from dataclasses import dataclass

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


def fit_lsh(images: np.ndarray, texts: np.ndarray, bits: int, seed: int = 0) -> Projection:
    """Signs of random projections (Charikar, 2002), the same for both modalities.

    Args:
        images, texts: float ``[n d]`` in one space; row i of both is one pair.
        bits: length of the codes.
        seed: of the draw.

    Raises:
        ConfigError: the features do not fit each other.
    """
    check_widths(*centred(images, texts))
    planes = np.random.default_rng(seed).standard_normal((images.shape[1], bits))
    return Projection(images.mean(axis=0), texts.mean(axis=0), planes, planes)


def fit_itq(images: np.ndarray, texts: np.ndarray, bits: int, seed: int = 0) -> Projection:
    """Iterative quantisation (Gong & Lazebnik, CVPR 2011): PCA, then the best rotation to signs.

    Arguments and errors are as in :func:`fit_lsh`; at most d bits.
    """
    x, y = centred(images, texts, bits)
    check_widths(x, y)
    both = np.concatenate([x, y])
    principal = np.linalg.eigh(both.T @ both)[1][:, ::-1][:, :bits]
    directions = principal @ rotation_to_signs(both @ principal, seed)
    return Projection(images.mean(axis=0), texts.mean(axis=0), directions, directions)


def fit_cca_itq(images: np.ndarray, texts: np.ndarray, bits: int, seed: int = 0) -> Projection:
    """CCA of the two modalities, scaled by the correlations, then ITQ's rotation (same paper).

    Arguments and errors are as in :func:`fit_itq`, but the modalities may have features of
    different widths.
    """
    x, y = centred(images, texts, bits)
    a, b, correlations = canonical_directions(x, y, REGULARISATION)
    a, b = (m[:, :bits] * correlations[:bits] for m in (a, b))
    rotation = rotation_to_signs(np.concatenate([x @ a, y @ b]), seed)
    return Projection(images.mean(axis=0), texts.mean(axis=0), a @ rotation, b @ rotation)


BASELINES = {"lsh": fit_lsh, "itq": fit_itq, "cca_itq": fit_cca_itq}


def random_codes(n: int, bits: int, seed: int) -> np.ndarray:
    """Random codes, packed uint8 ``[n bits/8]``: their score is chance."""
    return np.random.default_rng(seed).integers(0, 256, (n, bits // 8), dtype=np.uint8)


def rotation_to_signs(projected: np.ndarray, seed: int) -> np.ndarray:
    """The rotation R that brings V R close to its own signs B: min ‖B − V R‖² over both in turn.

    B = sign(V R); then R = W Uᵀ, where U S Wᵀ = Bᵀ V (orthogonal Procrustes). No step increases the
    error. V is ``projected``, centred, float ``[n bits]``.
    """
    bits = projected.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((bits, bits)))[0]
    for _ in range(ITERATIONS):
        signs = np.where(projected @ rotation > 0, 1.0, -1.0)
        u, _, wt = np.linalg.svd(signs.T @ projected)
        rotation = (u @ wt).T
    return rotation


def canonical_directions(
    x: np.ndarray, y: np.ndarray, regularisation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions in which two centred sets of features correlate the most (Hotelling, 1936).

    With Cxx = XᵀX/n + ρI, Cyy = YᵀY/n + ρI and Cxy = XᵀY/n: the left singular vectors of
    Cxx^−½ Cxy Cyy^−½, multiplied by Cxx^−½, and the right ones, multiplied by Cyy^−½. They have
    unit variance under the regularised covariance; ρ is ``regularisation`` times the mean variance.

    Returns:
        For x ``[n d]`` and y ``[n e]``: directions ``[d k]`` and ``[e k]``, and their correlations
        ``[k]`` in falling order; k = min(d, e).
    """
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


def centred(images: np.ndarray, texts: np.ndarray, bits: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The features as float64 without their means, after a check of rows and of ``bits``."""
    if len(images) != len(texts) or not len(images):
        raise ConfigError(
            f"got features of {len(images)} pictures and {len(texts)} texts, expected one picture "
            "for each text; repeat a picture's features for each of its captions"
        )
    width = min(images.shape[1], texts.shape[1])
    if bits > width:
        raise ConfigError(
            f"got {bits} bits and {width} features, expected at most one bit for each feature; ask "
            f"for codes of at most {width} bits"
        )
    x, y = images - images.mean(axis=0), texts - texts.mean(axis=0)
    return x.astype(np.float64), y.astype(np.float64)


def check_widths(images: np.ndarray, texts: np.ndarray) -> None:
    """Refuse features that are not in one space."""
    if images.shape[1] != texts.shape[1]:
        raise ConfigError(
            f"got {images.shape[1]} numbers for a picture and {texts.shape[1]} for a text, "
            "expected one joint space; use CCA + ITQ"
        )
