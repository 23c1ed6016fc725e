"""The pictures that training holds back, and what is said of a model on them."""

import pytest
import torch

from derefl.reflection.learning.pairs import Pairs, PairsConfig
from derefl.reflection.learning.synthesis import SynthesisConfig
from derefl.reflection.learning.validate import held_back_scores, psnr

KINDS = ("real", "synthetic", "clean", "blurred_2", "blurred_5")


@pytest.fixture
def pairs(photo_folder, pair_folder):
    return Pairs(PairsConfig((str(photo_folder),), (str(pair_folder),)), SynthesisConfig(), 0)


def test_a_photo_without_a_reflection_is_its_own_truth(pairs):
    pictures = {kind: (image, truth) for kind, image, truth in pairs.validation()}
    assert tuple(pictures) == KINDS
    for kind in KINDS[2:]:
        torch.testing.assert_close(*pictures[kind], rtol=0, atol=0)
    steps = [pictures[kind][0].diff(dim=-1).abs().max().item() for kind in KINDS[2:]]
    assert steps[0] > 2 * steps[1] > 3 * steps[2]  # the edges grow softer


def test_who_changes_nothing_scores_what_the_input_scores(pairs):
    scores = held_back_scores(lambda image: image, pairs)
    assert [scores[f"{kind}_psnr"] for kind in KINDS] == [scores[f"{kind}_input"] for kind in KINDS]
    assert scores["real_input"] < 30 and scores["clean_input"] == 60


def test_scores_are_means_over_the_pictures_of_a_kind(pairs):
    darker = held_back_scores(lambda image: image - 0.1, pairs)
    expected = {}
    for kind, image, truth in pairs.validation():
        expected.setdefault(kind, []).append(psnr((image - 0.1).clamp(0, 1), truth))
    for kind, values in expected.items():
        assert darker[f"{kind}_psnr"] == pytest.approx(sum(values) / len(values), abs=1e-3)
