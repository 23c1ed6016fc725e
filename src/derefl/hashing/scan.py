"""Exact Hamming search: one pass over the codes, without sorting them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from derefl.hashing.codes import Codes, as_words

BLOCK = 1 << 15
"""Words looked at in one go: they and what is computed of them stay in a core's cache, of which
512 KiB are enough. (Measured: half or twice as many are slower by a tenth, 8 times by two thirds.)
"""

Rows = NDArray[np.intp]
Found = tuple[Rows, NDArray[np.uint8]]
"""Rows and their distances, by distance and then by row."""


def nearest(codes: Codes, queries: Codes, k: int, rows: Rows | None = None) -> list[Found]:
    """The k rows nearest to each query, fewer if there are fewer; of equals, the first ones.

    Args:
        codes: uint8 ``[n K/8]``, contiguous.
        queries: uint8 ``[q K/8]``, contiguous.
        k: at least 1.
        rows: look only at these rows, in ascending order; None means all.
    """
    searches = [Nearest(k, codes.shape[1] * 8) for _ in queries]
    for query, start, distances in scan(codes, queries, rows):
        searches[query].see(start, distances)
    return [in_codes(search.found(), rows) for search in searches]


def within(codes: Codes, queries: Codes, radius: int, rows: Rows | None = None) -> list[Found]:
    """All rows not farther than ``radius`` from each query; arguments as in :func:`nearest`."""
    pieces: list[list[Found]] = [[] for _ in queries]
    for query, start, distances in scan(codes, queries, rows):
        close = np.flatnonzero(distances <= radius)
        pieces[query].append((close + start, distances[close]))
    return [in_codes(by_distance(piece), rows) for piece in pieces]


def scan(
    codes: Codes, queries: Codes, rows: Rows | None
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Distances block by block: query, place of the block's first row, uint8 ``[rows]``.

    Each code is read from memory once for all queries. What is yielded is overwritten in the next
    round.
    """
    words, wanted = as_words(codes), as_words(queries)
    n, width = len(codes) if rows is None else len(rows), words.shape[1]
    size = BLOCK // width
    changed = np.empty(size, words.dtype)
    total, more = np.empty((2, size), np.uint8)
    for start in range(0, n, size):
        place = slice(start, min(start + size, n))
        block = words[place] if rows is None else words[rows[place]]
        changed, total, more = changed[: len(block)], total[: len(block)], more[: len(block)]
        for query, word in enumerate(wanted):
            # Word by word: one loop over pairs of words takes three times as long.
            for column in range(width):
                np.bitwise_xor(block[:, column], word[column], out=changed)
                np.bitwise_count(changed, out=more if column else total)
                if column:
                    np.add(total, more, out=total)
            yield query, start, total


class Nearest:
    """The k nearest of the rows seen so far.

    A histogram of distances tells where the k-th nearest lies. A row is kept only if it is nearer:
    one just as near comes later and loses. Blocks without such a row cost one look for their
    minimum, which after the first few is nearly all of them.
    """

    def __init__(self, k: int, bits: int) -> None:
        self.k = k
        self.cut = bits + 1
        self.histogram = np.zeros(bits + 1, np.int64)
        self.pieces: list[Found] = []
        self.kept = 0

    def see(self, start: int, distances: NDArray[np.uint8]) -> None:
        """Take in the rows from ``start`` on."""
        if distances.min() >= self.cut:
            return
        close = np.flatnonzero(distances < self.cut)
        chosen = distances[close]
        self.pieces.append((close + start, chosen))
        self.histogram += np.bincount(chosen, minlength=len(self.histogram))
        # Where the count reaches k; past the end, which says that all are wanted, if nowhere.
        self.cut = int(np.searchsorted(np.cumsum(self.histogram), self.k))
        self.kept += len(close)
        if self.kept > 2 * self.k + 4 * BLOCK:  # codes that come nearer all the time
            self.pieces = [self.found()]
            self.kept = self.k

    def found(self) -> Found:
        """The rows and distances."""
        rows, distances = by_distance(self.pieces)
        return rows[: self.k], distances[: self.k]


def by_distance(pieces: list[Found]) -> Found:
    """Pieces in the order of their rows as one, by distance and then by row."""
    rows = np.concatenate([np.empty(0, np.intp), *(rows for rows, _ in pieces)])
    distances = np.concatenate([np.empty(0, np.uint8), *(found for _, found in pieces)])
    order = np.argsort(distances, kind="stable")  # of bytes: a counting sort
    return rows[order], distances[order]


def in_codes(found: Found, rows: Rows | None) -> Found:
    """From places among the chosen rows to rows."""
    return found if rows is None else (rows[found[0]], found[1])
