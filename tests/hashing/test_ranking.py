"""Average precision and curves against their definitions, over all orders of tied items."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from derefl.hashing.codes import pack
from derefl.hashing.learning import recall
from derefl.hashing.learning.ranking import (
    Levels,
    average_precision,
    average_precisions,
    label_report,
    precision_at,
    radius_curve,
    rank,
)
from tests.hashing.test_recall import orders


def ap_of(ranking, k):
    """AP@k of one ranking, a list of 0 and 1, by definition."""
    hits = [sum(ranking[: i + 1]) / (i + 1) for i, hit in enumerate(ranking[:k]) if hit]
    return sum(hits) / min(k, sum(ranking))


def levels_of(similarity, relevant):
    """The :class:`Levels` of one query."""
    values = sorted(set(similarity), reverse=True)
    where = [np.equal(similarity, value) for value in values]
    relevant = np.array(relevant)
    return Levels(
        *(np.array([c]) for c in ([w.sum() for w in where], [relevant[w].sum() for w in where]))
    )


tied = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6)


@given(tied, st.integers(1, 8))
def test_expected_average_precision_is_the_mean_over_all_orders(items, k):
    similarity, relevant = zip(*items, strict=True)
    levels = levels_of(similarity, relevant)
    if not any(relevant):
        assert np.isnan(average_precision(levels)).all()
        assert np.isnan(average_precision(levels, k)).all()
        return
    rankings = [[relevant[i] for i in order] for order in orders(similarity)]
    for cut, values in ((len(items), average_precision(levels)), (k, average_precision(levels, k))):
        assert values == pytest.approx(np.mean([ap_of(ranking, cut) for ranking in rankings]))


@given(tied)
def test_expected_precision_is_the_mean_over_all_orders(items):
    similarity, relevant = zip(*items, strict=True)
    rankings = [[relevant[i] for i in order] for order in orders(similarity)]
    ns = range(1, len(items) + 1)
    expected = [np.mean([sum(ranking[:n]) / n for ranking in rankings]) for n in ns]
    assert precision_at(levels_of(similarity, relevant), ns)[0] == pytest.approx(expected)


def test_one_lucky_hit_is_not_a_perfect_query():
    """Ranking 1 0 0 1 1: three are relevant, one of them is among the first two."""
    levels = levels_of([5, 4, 3, 2, 1], [1, 0, 0, 1, 1])
    assert average_precision(levels, 2) == pytest.approx(1 / 2)  # over the found hits it would be 1
    assert average_precision(levels, 1) == pytest.approx(1)
    assert average_precision(levels) == pytest.approx((1 + 2 / 4 + 3 / 5) / 3)


@pytest.fixture
def coded():
    rng = np.random.default_rng(1)
    values, labels = rng.normal(size=(40, 16)), rng.random((40, 5)) < 0.3
    return pack(values[:10]), pack(values[10:]), labels[:10], labels[10:]


def test_levels_are_hamming_distances_and_shared_labels(coded):
    queries, items, query_labels, item_labels = coded
    (levels,) = rank(*coded)
    assert levels.items.shape == levels.relevant.shape == (10, 17)
    for q in range(10):
        distance = np.unpackbits(queries[q] ^ items, axis=1).sum(axis=1)
        shared = (query_labels[q] & item_labels).any(axis=1)
        for d in range(17):
            assert levels.items[q, d] == (distance == d).sum()
            assert levels.relevant[q, d] == (shared & (distance == d)).sum()
    precision, found = radius_curve(levels)
    inside = np.unpackbits(queries[0] ^ items, axis=1).sum(axis=1) <= 7
    shared = (query_labels[0] & item_labels).any(axis=1)
    assert precision[0, 7] == pytest.approx(shared[inside].mean())
    assert found[0, 7] == pytest.approx(shared[inside].sum() / shared.sum())


def test_an_empty_ball_has_no_precision_and_the_whole_space_has_all_recall():
    levels = Levels(np.array([[0, 2, 2]]), np.array([[0, 1, 0]]))
    precision, found = radius_curve(levels)
    assert precision.tolist() == [[0, 0.5, 0.25]]
    assert found.tolist() == [[0, 1, 1]]
    assert np.isnan(radius_curve(Levels(np.array([[3]]), np.array([[0]])))[1]).all()


def test_features_rank_by_cosine_and_tie_where_equal():
    items = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 1]], np.float32)
    labels = np.array([0, 1, 1, 0])
    (levels,) = rank(np.array([[0, 1]], np.float32), items, np.array([1]), labels)
    assert levels.items[0].tolist() == [2, 1, 1, 0]  # two at cosine 1, then .8, then 0
    assert levels.relevant[0].tolist() == [1, 1, 0, 0]


def test_codes_and_their_signs_rank_alike(coded):
    queries, items, *labels = coded
    signs = [np.unpackbits(codes, axis=1) * np.float32(2) - 1 for codes in (queries, items)]
    assert average_precisions(queries, items, *labels) == pytest.approx(
        average_precisions(*signs, *labels), nan_ok=True
    )


def test_neither_order_nor_blocks_matter(coded, monkeypatch):
    queries, items, query_labels, item_labels = coded
    report = label_report(*coded)
    order = np.random.default_rng(0).permutation(len(items))
    moved = label_report(queries, items[order], query_labels, item_labels[order])
    assert moved["map"] == pytest.approx(report["map"])
    assert moved["precision"] == pytest.approx(report["precision"])
    monkeypatch.setattr(recall, "CELLS", 100)
    assert label_report(*coded) == report


def test_the_report_leaves_out_queries_with_nothing_to_find(coded):
    queries, items, query_labels, item_labels = coded
    query_labels, item_labels = query_labels.copy(), item_labels.copy()
    query_labels[:3] = False
    query_labels[3:, 0] = item_labels[0, 0] = True  # all other queries have a relevant item
    report = label_report(queries, items, query_labels, item_labels)
    of_others = label_report(queries[3:], items, query_labels[3:], item_labels)
    assert report["queries"] == 7
    assert report == of_others
    ap = average_precisions(queries[3:], items, query_labels[3:], item_labels)
    assert report["map"] == pytest.approx(ap.mean())
    assert list(report["precision"]) == ["1", "2", "5", "10", "20"]  # of 30 items
    assert [point["radius"] for point in report["precision_recall"]] == list(range(17))
    assert report["precision_recall"][-1]["recall"] == 1


def test_nobody_has_anything_to_find():
    codes, labels = np.zeros((2, 2), np.uint8), np.eye(2, dtype=bool)
    report = label_report(codes[:1], codes[1:], labels[:1], labels[1:])
    assert (report["queries"], report["map"], report["precision"]) == (0, None, {"1": None})
