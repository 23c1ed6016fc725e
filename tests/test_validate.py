"""Validation pictures and a model's scores on them."""

import numpy as np
import pytest
import torch
from PIL import Image

from derefl.reflection.learning.pairs import held_back_photos
from derefl.reflection.learning.validate import (
    choice,
    measure,
    measured,
    roc,
    samples,
    scores,
    synthetic,
)

pytestmark = pytest.mark.usefixtures("small_validation")


def flat(value: float) -> torch.Tensor:
    return torch.full((1, 3, 32, 32), value)


@pytest.fixture
def pictures(photo_folder, pair_folder):
    photos = held_back_photos([photo_folder], 21)
    folders = {"pairs": pair_folder, "plain": photo_folder}
    return list(samples(folders, photos))


def test_kinds_of_pictures(pictures):
    kinds = {sample.kind for sample in pictures}
    assert {"pairs", "plain", "screen", "clean", "blurred_2", "blurred_5"} <= kinds
    for kind, _, image, truth in pictures:
        if kind in ("plain", "clean", "blurred_2", "blurred_5"):
            assert torch.equal(image, truth)
        if kind[0].isdigit():  # by the PSNR of the input
            low, high = map(int, kind.split("-"))
            assert low <= float(-10 * (image - truth).square().mean().log10()) < high
    edges = {
        kind: float(image.diff(dim=-1).abs().max())
        for kind, _, image, _ in pictures
        if kind in ("clean", "blurred_2", "blurred_5")
    }
    assert edges["clean"] > 2 * edges["blurred_2"] > 3 * edges["blurred_5"]  # softer and softer
    names = [sample.kind for sample in pictures]
    assert (names.count("pairs"), names.count("plain")) == (3, 42)


def test_reflections_show_another_photograph(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in ("red", "blue")]
    for path in paths:
        Image.new("RGB", (40, 40), path.stem).save(path)
    for kind, scene, image, _ in synthetic(paths):
        other = 2 if scene == "red.png" else 0  # the channel of the reflected photograph
        assert kind != "screen" or image[:, other].min() > 0.3
    assert list(synthetic(paths[:1])) == []


def test_a_model_that_changes_nothing_gains_nothing(pictures):
    table = scores(measured(lambda image: image, pictures))
    for row in table.values():
        assert row["psnr"] == row["input"] and row["gain"] == row["error"] == row["strong"] == 0
    assert table["pairs"]["n"] == 3 and table["clean"]["psnr"] == 60


def test_measures_of_a_picture():
    truth, image = flat(0.5), flat(0.5)
    image[..., :16, :] += 0.2
    estimate = truth.clone()
    estimate[..., 16:, :] += 0.1
    result = measure(estimate, image, truth)
    assert result["psnr"] == pytest.approx(-10 * np.log10(0.005), abs=1e-3)
    assert result["gain"] == pytest.approx(10 * np.log10(0.02 / 0.005), abs=1e-3)
    assert result["low"] == pytest.approx(255 * 0.1 / 2**0.5, rel=1e-4)  # only in 16 × 16 means
    assert result["high"] == pytest.approx(0, abs=1e-3)
    assert result["amount"] == pytest.approx(0.1, rel=1e-4)  # 0.2 in one half, 0 in the other
    assert result["strong"] == pytest.approx(60 + 20 * np.log10(0.2), abs=1e-2)
    checks = truth + 0.1 * (torch.arange(32) % 2 * 2 - 1)
    result = measure(checks, image, truth)
    assert result["low"] == pytest.approx(0, abs=1e-3)
    assert result["high"] == pytest.approx(25.5, rel=1e-4)


def test_standard_error_is_over_scenes():
    def sample(scene: str, gain: float) -> tuple:
        error = 0.1 * 10 ** (gain / 20)  # with T̂ 0.1 from T
        return "pairs", scene, flat(0.5 + error), flat(0.5)

    some = [sample("a", 0), sample("a", 2), sample("b", 4), sample("c", 4)]
    row = scores(measured(lambda image: flat(0.6), iter(some)))["pairs"]
    assert row["gain"] == pytest.approx(2.5, abs=2e-3)
    assert row["error"] == pytest.approx(np.std([1, 4, 4], ddof=1) / 3**0.5, abs=2e-3)


def test_roc_of_the_amount(pair_folder, photo_folder):
    def rows(*amounts: float) -> list:
        return [("", {"amount": amount}) for amount in amounts]

    folders = {"pairs": pair_folder, "plain": photo_folder}
    results = {"pairs": rows(1, 3, 5), "plain": rows(2, 0), "clean": rows(3), "screen": rows(9)}
    curve = roc(results, folders)
    assert (curve["with"], curve["without"]) == (3, 3)
    assert curve["auc"] == pytest.approx(6.5 / 9)  # a tie counts half
    (at,) = (at for at in curve["at"] if at["amount"] == pytest.approx(2.9))  # 5 % of 2 … 3
    assert (at["with"], at["without"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert roc({"pairs": rows(1)}, folders) == {}


def test_the_score_of_a_checkpoint():
    table = {"a": {"gain": 2.0}, "b": {"gain": 1.0}, "clean": {"psnr": 41.0, "gain": -19.0}}
    assert choice(table, ("a", "b"), 40) == 1.5
    assert choice(table, ("a", "b"), 42) == 0.5
