"""The baselines: algebra on synthetic features, and search results."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from derefl.errors import ConfigError
from derefl.hashing.codes import hamming
from derefl.hashing.learning import baselines
from derefl.hashing.learning.baselines import (
    BASELINES,
    REGULARISATION,
    canonical_directions,
    fit_cca_itq,
    fit_itq,
    fit_lsh,
    random_codes,
    rotation_to_signs,
)
from derefl.hashing.learning.recall import caption_recall


def pairs(n=400, d=24, noise=0.5, seed=0):
    """Two noisy views of the same vectors in one space, each around its own centre."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, d)) * np.linspace(2, 0.5, d)
    images, texts = (
        common + noise * rng.normal(size=(n, d)) + 5 * rng.normal(size=d) for _ in "ab"
    )
    return images.astype(np.float32), texts.astype(np.float32)


@given(st.integers(0, 1000), st.sampled_from([8, 16]))
def test_itq_rotates_and_never_gets_worse(seed, bits):
    projected = np.random.default_rng(seed).normal(size=(100, bits))

    def error(iterations):
        with patch.object(baselines, "ITERATIONS", iterations):
            rotation = rotation_to_signs(projected, seed)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(bits), atol=1e-9)
        turned = projected @ rotation
        return np.square(np.where(turned > 0, 1, -1) - turned).sum()

    errors = [error(iterations) for iterations in (0, 1, 2, 10, 50)]
    assert (np.diff(errors) <= 1e-9).all() and errors[-1] < errors[0]


def test_itq_finds_the_rotation_to_a_cube():
    """Corners of a rotated cube: the right rotation makes the error 0."""
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    found = [np.abs(corners @ turn @ rotation_to_signs(corners @ turn, seed)) for seed in range(5)]
    assert min(np.abs(values - 1).max() for values in found) < 1e-9


def test_itq_keeps_the_directions_of_most_variance():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2000, 16)) * np.where(np.arange(16) < 8, 5, 0.1)
    assert np.abs(fit_itq(features, features, 8).image_map[8:]).max() < 0.02


def test_cca_agrees_with_the_generalised_eigenproblem():
    from scipy.linalg import eigh

    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6))
    y = x @ rng.normal(size=(6, 4)) + 2 * rng.normal(size=(500, 4))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    a, b, correlations = canonical_directions(x, y, 0)
    n, cxx, cyy, cxy = 500, x.T @ x / 500, y.T @ y / 500, x.T @ y / 500
    squares = eigh(cxy @ np.linalg.solve(cyy, cxy.T), cxx, eigvals_only=True)[::-1][:4]
    assert correlations == pytest.approx(np.sqrt(squares))
    measured = [np.corrcoef(x @ a[:, i], y @ b[:, i])[0, 1] for i in range(4)]
    assert correlations == pytest.approx(measured)
    np.testing.assert_allclose(a.T @ cxx @ a, np.eye(4), atol=1e-9)  # uncorrelated, variance 1
    np.testing.assert_allclose((x @ a).T @ (y @ b) / n, np.diag(correlations), atol=1e-9)


def test_cca_itq_is_cca_scaled_by_the_correlations_and_turned():
    images, texts = pairs()
    fitted = fit_cca_itq(images, texts[:, :16], 8)
    x, y = (part - part.mean(axis=0) for part in (images.astype(float), texts[:, :16]))
    a, b, correlations = canonical_directions(x, y, REGULARISATION)
    a, b = (m[:, :8] * correlations[:8] for m in (a, b))
    turn = np.linalg.lstsq(a, fitted.image_map, rcond=None)[0]
    np.testing.assert_allclose(turn @ turn.T, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(fitted.text_map, b @ turn, atol=1e-5)


def test_regularised_cca_survives_a_dependent_feature():
    images, texts = pairs()
    images = np.concatenate([images, images[:, :1]], axis=1)
    x, y = (part - part.mean(axis=0) for part in (images, texts))
    assert canonical_directions(x, y, REGULARISATION)[2].max() <= 1


def test_lsh_estimates_angles():
    """The share of differing bits is the angle over π (Charikar)."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 8))
    features = np.concatenate([features, -features])  # already centred
    fitted = fit_lsh(features, features, 8192, seed=1)
    codes = fitted.encode_image(features)
    differing = np.unpackbits(codes[:5, None] ^ codes[None, :20], axis=2).mean(axis=2)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    angles = np.arccos(np.clip(unit[:5] @ unit[:20].T, -1, 1)) / np.pi
    np.testing.assert_allclose(differing, angles, atol=0.03)


@pytest.mark.parametrize("name", BASELINES)
def test_codes_find_pairs_that_were_not_fitted_on(name):
    images, texts = pairs(800)
    fitted = BASELINES[name](images[:600], texts[:600], 16, seed=2)
    codes = fitted.encode_image(images[600:]), fitted.encode_text(texts[600:])
    assert codes[0].shape == (200, 2) and codes[0].dtype == np.uint8
    found = caption_recall(*codes, np.arange(200))["text_to_image"]["r@10"]
    assert found > 50  # by chance 5
    again = BASELINES[name](images[:600], texts[:600], 16, seed=2)
    assert np.array_equal(again.encode_image(images), fitted.encode_image(images))


def test_random_codes_know_nothing():
    codes = random_codes(300, 64, seed=0)
    assert codes.shape == (300, 8)
    assert np.array_equal(codes, random_codes(300, 64, seed=0))
    assert not np.array_equal(codes, random_codes(300, 64, seed=1))
    distances = hamming(codes, random_codes(300, 64, seed=1))
    assert distances.mean() == pytest.approx(32, abs=0.2)


@pytest.mark.parametrize(
    ("name", "shapes", "bits", "message"),
    [
        ("lsh", [(5, 8), (6, 8)], 8, "5 pictures and 6 texts, expected one picture"),
        ("itq", [(5, 8), (5, 9)], 8, "8 numbers for a picture and 9 for a text"),
        ("itq", [(50, 8), (50, 8)], 16, "got 16 bits and 8 features"),
        ("cca_itq", [(50, 32), (50, 8)], 16, "got 16 bits and 8 features"),
        ("lsh", [(0, 8), (0, 8)], 8, "0 pictures"),
    ],
)
def test_errors_say_what_does_not_fit(name, shapes, bits, message):
    with pytest.raises(ConfigError, match=message):
        BASELINES[name](*map(np.ones, shapes), bits)
