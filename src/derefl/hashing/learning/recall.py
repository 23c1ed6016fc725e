"""R@k and median rank between pictures and their captions.

Tie rule: items of equal similarity are in random order, and every number is its expectation over
the orders, in closed form. Short codes tie often. With an arbitrary order the result would depend
on the order of the files; with a lenient order a constant code would win. A picture has several
captions: image→text uses the best placed caption.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from derefl.errors import DataError
from derefl.hashing.codes import hamming

KS = (1, 5, 10)
TIE_RULE = "expected value over the orders of equal similarities"

CELLS = 2**21
"""Similarities per block: 16 MB in float64, and a few copies."""

DECIMALS = 6
"""Cosines that agree to this many decimals are ties. Otherwise the different rounding errors of the
matrix product would rank copies of the same picture."""


class Standing(NamedTuple):
    """The place of each query's best placed relevant item; int ``[n]`` each.

    Attributes:
        above: number of more similar items.
        tied: number of items with the same similarity, the item included.
        hits: number of relevant items among the tied.
    """

    above: np.ndarray
    tied: np.ndarray
    hits: np.ndarray


def caption_recall(images: np.ndarray, texts: np.ndarray, rows: np.ndarray) -> dict[str, dict]:
    """Recall in both directions, from codes or from features.

    Args:
        images: packed codes uint8 ``[n bytes]``, or features of unit length, float ``[n d]``.
        texts: the same for the captions, ``[m …]``.
        rows: int ``[m]``, for each caption the row of its picture.

    Returns:
        ``text_to_image`` and ``image_to_text``, each a :func:`recall_summary`.

    Raises:
        DataError: no picture, or a picture without a caption.
    """
    numbers = np.arange(len(images))
    if not len(images) or not np.isin(numbers, rows).all():
        raise DataError(
            f"got {len(images)} pictures, {len(np.unique(rows))} of them with a caption; expected "
            "at least one caption for each"
        )
    return {
        "text_to_image": recall_summary(standing(texts, images, rows, numbers)),
        "image_to_text": recall_summary(standing(images, texts, numbers, rows)),
    }


def standing(
    queries: np.ndarray, items: np.ndarray, query_groups: np.ndarray, item_groups: np.ndarray
) -> Standing:
    """Each query's best placed relevant item; relevant are items of the same group, int ``[n]``."""
    parts = []
    for block, similarity in similarities(queries, items):
        relevant = query_groups[block, None] == item_groups
        best = np.where(relevant, similarity, similarity.min() - 1).max(axis=1, keepdims=True)
        tied = similarity == best
        counts = similarity > best, tied, tied & relevant
        parts.append([count.sum(axis=1) for count in counts])
    return Standing(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def similarities(queries: np.ndarray, items: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of queries against all items: −Hamming distance of codes, rounded cosine of features.

    Yields:
        The slice of the queries, and similarities ``[block m]``, int16 or float.
    """
    step = max(1, CELLS // max(1, len(items)))
    for start in range(0, len(queries), step):
        block = slice(start, start + step)
        if queries.dtype == np.uint8:
            yield block, -hamming(queries[block], items).astype(np.int16)
        else:
            yield block, np.round(queries[block] @ items.T, DECIMALS)


def recall_summary(where: Standing) -> dict[str, float]:
    """``r@1``, ``r@5``, ``r@10`` in percent, and ``median_rank``, counted from 1."""
    report = {f"r@{k}": 100 * float(chance_within(where, k).mean()) for k in KS}
    return report | {"median_rank": float(np.median(expected_rank(where)))}


def chance_within(where: Standing, k: int) -> np.ndarray:
    """Probability ``[n]`` that a relevant item is among the first k.

    Of the t tied items, h are hits, and the first j = k − above of the ties are among the first k.
    The probability of no hit among them is C(t−h, j) / C(t, j) = ∏ᵢ (t−h−i) / (t−i), i < j.
    """
    miss = np.ones(len(where.above))
    for i in range(k):
        inside = (where.above + i < k) & (i < where.tied)
        factor = np.maximum(where.tied - where.hits - i, 0) / np.maximum(where.tied - i, 1)
        miss = np.where(inside, miss * factor, miss)
    return 1 - miss


def expected_rank(where: Standing) -> np.ndarray:
    """Expected rank ``[n]`` of the best placed relevant item: above + (t + 1) / (h + 1)."""
    return where.above + (where.tied + 1) / (where.hits + 1)
