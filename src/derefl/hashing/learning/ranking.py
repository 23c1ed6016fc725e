"""Average precision and related measures for labelled data; items that share a label are relevant.

Conventions:

- *Ties* are in random order, and every measure is its expectation over the orders, in closed form
  (McSherry & Najork, "Computing information retrieval performance measures efficiently in the
  presence of tied scores", 2008). Codes of K bits have only K + 1 distances: without this rule the
  measure would depend on the order of the files.
- *AP@k* sums the precision at each relevant item among the first k, and divides by
  min(k, number of relevant items): 1 is the best possible result. Another common definition
  averages over the relevant items found among the first k, or even over the first k relevant
  items. With that definition a query with one lucky hit is perfect.
- A query without relevant items has no AP and does not count in the means.
- Values are between 0 and 1.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from derefl.hashing.learning.recall import similarities

CURVE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""The values of N for precision@N, up to the size of the database."""


class Levels(NamedTuple):
    """Rankings as counts per similarity level, the most similar first; int ``[queries levels]``.

    Attributes:
        items, relevant: number of items, and of relevant items, on each level; may be 0.
    """

    items: np.ndarray
    relevant: np.ndarray


def rank(
    queries: np.ndarray, items: np.ndarray, query_labels: np.ndarray, item_labels: np.ndarray
) -> Iterator[Levels]:
    """Rank all items for each query, block by block.

    Args:
        queries: packed codes uint8 ``[n K/8]``, or features of unit length, float ``[n d]``.
        items: the same, ``[m …]``.
        query_labels, item_labels: bool ``[n classes]`` and ``[m classes]``, relevant with a common
            class; or int ``[n]`` and ``[m]``, relevant if equal.

    Yields:
        Levels of a block of queries: for codes the K + 1 Hamming distances, level r for distance r;
        for features at most m levels.
    """
    for block, similarity in similarities(queries, items):
        relevant = share_label(query_labels[block], item_labels)
        if queries.dtype == np.uint8:
            levels, count = -similarity.astype(np.int64), 8 * queries.shape[1] + 1
        else:
            order = np.argsort(-similarity, axis=1)
            relevant = np.take_along_axis(relevant, order, axis=1)
            steps = np.diff(np.take_along_axis(similarity, order, axis=1), axis=1) != 0
            levels = np.zeros(similarity.shape, np.int64)
            np.cumsum(steps, axis=1, out=levels[:, 1:])
            count = similarity.shape[1]
        yield Levels(histogram(levels, count), histogram(levels, count, relevant))


def share_label(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """bool ``[n m]``: whether two items share a label; labels as in :func:`rank`."""
    if a.ndim == 1:
        return a[:, None] == b
    return a.astype(np.float32) @ b.astype(np.float32).T > 0


def histogram(levels: np.ndarray, count: int, where: np.ndarray | None = None) -> np.ndarray:
    """The number of each of ``count`` values in each row: ``[n m] -> [n count]``."""
    flat = levels + np.arange(len(levels))[:, None] * count
    flat = flat.ravel() if where is None else flat[where]
    return np.bincount(flat, minlength=len(levels) * count).reshape(len(levels), count)


def average_precision(levels: Levels, k: int | None = None) -> np.ndarray:
    """Expected AP, or AP@k, of each query: float ``[queries]``, NaN without relevant items.

    Take a level of n items with r relevant, and N items with R relevant above it. Place i of the
    level holds a relevant item with probability r/n, and then R + 1 + (i−1)(r−1)/(n−1) relevant
    items are expected up to it. So the level adds, with j of its n places within the first k,

        r/n · Σᵢ₌₁ʲ (R + 1 + (i−1)ρ) / (N + i)  =  r/n · [(R + 1)Δ + ρ(j − (N + 1)Δ)],

    where ρ = (r−1)/(n−1) and Δ = Σᵢ₌₁ʲ 1/(N + i), a difference of harmonic numbers.
    """
    n, r = levels.items, levels.relevant
    above = np.cumsum(n, axis=1) - n
    found = np.cumsum(r, axis=1) - r
    size = int(n[0].sum()) if len(n) else 0
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, size + 1))])
    inside = n if k is None else np.clip(k - above, 0, n)
    delta = harmonic[above + inside] - harmonic[above]
    rho = (r - 1) / np.maximum(n - 1, 1)
    added = (found + 1) * delta + rho * (inside - (above + 1) * delta)
    total = r.sum(axis=1)
    best = total if k is None else np.minimum(k, total)
    precision = (r / np.maximum(n, 1) * added).sum(axis=1) / np.maximum(best, 1)
    return np.where(total > 0, precision, np.nan)


def precision_at(levels: Levels, ns: Iterable[int]) -> np.ndarray:
    """Expected share of relevant items among the first N: ``[queries len(ns)]``."""
    items, relevant = levels
    above = np.cumsum(items, axis=1) - items
    share = relevant / np.maximum(items, 1)
    return np.stack([(share * np.clip(n - above, 0, items)).sum(axis=1) / n for n in ns], axis=1)


def radius_curve(levels: Levels) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall within each Hamming radius: ``[queries levels]`` each.

    An empty ball has precision 0, a "failed look-up" in the literature; recall is NaN without
    relevant items. Ties do not matter here.
    """
    items, relevant = (np.cumsum(counts, axis=1) for counts in levels)
    total = relevant[:, -1:]
    recall = np.where(total > 0, relevant / np.maximum(total, 1), np.nan)
    return relevant / np.maximum(items, 1), recall


def label_report(
    queries: np.ndarray, items: np.ndarray, query_labels: np.ndarray, item_labels: np.ndarray
) -> dict[str, Any]:
    """All measures of one direction, means over the queries with relevant items; see :func:`rank`.

    Returns:
        ``queries``, the number of these queries; ``map``; ``map@50``; ``precision``, by N as text;
        and for codes ``precision_recall``, a list of ``radius``, ``precision``, ``recall``. Means
        over no query are None.
    """
    ns = [n for n in CURVE if n <= len(items)]
    by_radius = queries.dtype == np.uint8
    parts = []
    for levels in rank(queries, items, query_labels, item_labels):
        part = [average_precision(levels), average_precision(levels, 50), precision_at(levels, ns)]
        parts.append(part + list(radius_curve(levels) if by_radius else ()))
    ap, ap50, precision, *curve = (np.concatenate(part) for part in zip(*parts, strict=True))
    counted = ~np.isnan(ap)

    def mean(values: np.ndarray) -> Any:
        return values[counted].mean(axis=0).tolist() if counted.any() else None

    report = {
        "queries": int(counted.sum()),
        "map": mean(ap),
        "map@50": mean(ap50),
        "precision": {str(n): mean(precision[:, i]) for i, n in enumerate(ns)},
    }
    if by_radius:
        radii = range(curve[0].shape[1])
        report["precision_recall"] = [
            {"radius": r, "precision": mean(curve[0][:, r]), "recall": mean(curve[1][:, r])}
            for r in radii
        ]
    return report


def average_precisions(
    queries: np.ndarray, items: np.ndarray, query_labels: np.ndarray, item_labels: np.ndarray
) -> np.ndarray:
    """Expected AP over all items of each query, NaN without relevant items; see :func:`rank`."""
    blocks = rank(queries, items, query_labels, item_labels)
    return np.concatenate([average_precision(levels) for levels in blocks])
