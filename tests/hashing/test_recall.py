"""Recall against its definition, over all orders of tied items."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from derefl.errors import DataError
from derefl.hashing.codes import hamming, pack
from derefl.hashing.learning import recall
from derefl.hashing.learning.recall import KS, caption_recall


def orders(similarity):
    """All rankings of the items, the most similar first, that agree with the similarities."""
    return [p for p in permutations(range(len(similarity))) if sorted_by(similarity, p)]


def sorted_by(similarity, order):
    return all(similarity[a] >= similarity[b] for a, b in pairwise(order))


def brute_force(similarity, relevant):
    """The summary by definition, from similarities ``[n m]`` and relevance, bool ``[n m]``."""
    within, ranks = [], []
    for row, wanted in zip(similarity, relevant, strict=True):
        best = [1 + min(i for i, item in enumerate(o) if wanted[item]) for o in orders(row)]
        within.append([np.mean([rank <= k for rank in best]) for k in KS])
        ranks.append(np.mean(best))
    recalls = 100 * np.mean(within, axis=0)
    return {f"r@{k}": r for k, r in zip(KS, recalls, strict=True)} | {
        "median_rank": np.median(ranks)
    }


@given(
    st.lists(st.sampled_from([0, 1, 3, 7, 255]), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 3, 7, 255])), max_size=3),
)
def test_ties_are_averaged_over_all_orders(images, more):
    """Codes of one byte with few values, so that most items tie."""
    rows = np.array([*range(len(images)), *(row % len(images) for row, _ in more)])
    texts = np.array([*reversed(images), *(code for _, code in more)], np.uint8)[:, None]
    images = np.array(images, np.uint8)[:, None]
    report = caption_recall(images, texts, rows)
    similarity = -hamming(texts, images).astype(int)
    relevant = rows[:, None] == np.arange(len(images))
    assert report["text_to_image"] == pytest.approx(brute_force(similarity, relevant))
    assert report["image_to_text"] == pytest.approx(brute_force(similarity.T, relevant.T))


def test_a_picture_counts_by_its_best_caption():
    images = np.array([[1, 0], [0, 1]], np.float32)
    texts = np.array([[0.1, 1], [1, 0], [0, 1], [0.2, 0.5]], np.float32)
    report = caption_recall(images, texts, np.array([0, 0, 1, 1]))
    assert report["image_to_text"]["r@1"] == 50 + 25  # the second picture ties with another's text
    assert report["text_to_image"]["r@1"] == 75


def test_features_without_content_score_what_chance_scores():
    """Equal vectors tie even if matrix products differ in the last digit."""
    rng = np.random.default_rng(0)
    vector = np.array([0.6, 0.8], np.float32) * (1 + 1e-7 * rng.integers(-1, 2, (211, 1)))
    assert len(np.unique(vector @ vector.T)) > 1
    assert (recall.standing(vector, vector, np.arange(211), np.arange(211)).tied == 211).all()
    report = caption_recall(vector, vector, np.arange(211))
    assert report["text_to_image"]["r@10"] == pytest.approx(100 * 10 / 211)
    assert report["text_to_image"]["median_rank"] == 106


def test_neither_order_nor_blocks_matter(monkeypatch):
    rng = np.random.default_rng(0)
    images, texts = (pack(rng.normal(size=(n, 16))) for n in (30, 90))
    rows = np.concatenate([np.arange(30), rng.integers(0, 30, 60)])
    report = caption_recall(images, texts, rows)
    order, place = rng.permutation(90), rng.permutation(30)
    moved = caption_recall(images[place], texts[order], np.argsort(place)[rows[order]])
    for direction in report:
        assert moved[direction] == pytest.approx(report[direction])
    monkeypatch.setattr(recall, "CELLS", 200)
    assert caption_recall(images, texts, rows) == report


def test_distances_beyond_a_signed_byte():
    images = np.array([[255] * 16, [0] * 16], np.uint8)  # 128 bits apart
    assert caption_recall(images, images, np.arange(2))["text_to_image"]["r@1"] == 100


def test_a_picture_without_caption_is_refused():
    codes = np.zeros((2, 2), np.uint8)
    with pytest.raises(DataError, match="got 2 pictures, 1 of them with a caption"):
        caption_recall(codes, codes, np.array([0, 0]))
    with pytest.raises(DataError, match="got 0 pictures"):
        caption_recall(codes[:0], codes[:0], np.array([], int))
