"""Exact Hamming search: one pass over the codes, without a sort."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from derefl.hashing.codes import Codes, as_words, hamming

BLOCK = 1 << 15
"""Words per block. The words and their results must stay in a core's cache, with 512 KiB or more.
Half or twice as many words are slower by a tenth, 8 times as many by two thirds."""

FIRST = 1 << 10
"""Words in the first block, whose rows are all sorted; each block is 8 times the one before."""

QUERIES = 256
"""Queries per scan in a search for groups. More queries find more pairs at once, in more memory."""

Rows = NDArray[np.intp]
Found = tuple[Rows, NDArray[np.uint8]]
"""Rows and distances, sorted by distance and then by row."""


def nearest(codes: Codes, queries: Codes, k: int, rows: Rows | None = None) -> list[Found]:
    """The k nearest rows of each query; at equal distance, the first rows.

    Args:
        codes: uint8 ``[n K/8]``, contiguous.
        queries: uint8 ``[q K/8]``, contiguous.
        k: at least 1; the result is shorter if there are fewer rows.
        rows: search only these rows, in ascending order; None: all.
    """
    searches = [Nearest(k, codes.shape[1] * 8) for _ in queries]
    for query, start, distances in scan(codes, queries, rows):
        searches[query].see(start, distances)
    return [in_codes(search.found(), rows) for search in searches]


def within(codes: Codes, queries: Codes, radius: int, rows: Rows | None = None) -> list[Found]:
    """All rows within ``radius`` of each query; arguments as in :func:`nearest`."""
    pieces: list[list[Found]] = [[] for _ in queries]
    for query, start, distances in scan(codes, queries, rows):
        close = np.flatnonzero(distances <= radius)
        pieces[query].append((close + start, distances[close]))
    return [in_codes(by_distance(piece), rows) for piece in pieces]


def duplicate_radius(bits: int) -> int:
    """The number of different bits up to which photos look nearly the same, by default."""
    return bits // 32


def groups(codes: Codes, radius: int) -> list[Rows]:
    """Rows of codes that are connected by steps of at most ``radius`` bits.

    Returns:
        The groups of at least two rows; the rows of a group rise.
    """
    above = np.arange(len(codes))  # a row of the same group, with a smaller number; itself: none

    def roots(rows: Rows) -> Rows:
        while not np.array_equal(rows, above[rows]):
            rows = above[rows]
        return rows

    # The first 64 bits exclude most pairs, in a third of the time of 128 bits.
    short = np.ascontiguousarray(codes[:, :8])
    for start in range(0, len(codes), QUERIES):
        some = short[start : start + QUERIES]
        for row, (near, _) in enumerate(within(short[start:], some, radius), start):
            if len(near) > 1:
                rows = start + near
                rows = rows[hamming(codes[row : row + 1], codes[rows])[0] <= radius]
                tops = roots(rows)
                above[tops] = above[rows] = tops.min()
    tops = roots(above)
    order = np.argsort(tops, kind="stable")
    pieces = np.split(order, np.flatnonzero(np.diff(tops[order])) + 1)
    return [rows for rows in pieces if len(rows) > 1]


def scan(
    codes: Codes, queries: Codes, rows: Rows | None
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Distances block by block: query, position of the block's first row, uint8 ``[rows]``.

    Each code is read from memory once for all queries. The next round overwrites the yielded array.
    """
    words = as_words(codes)
    n, width = len(codes) if rows is None else len(rows), words.shape[1]
    # Arrays with one number: numpy converts a bare number at every call.
    wanted = [[np.array(word) for word in query] for query in as_words(queries)]
    # A single query reads each code once: only the results have to stay in the cache.
    largest = BLOCK // width * (1 if len(queries) > 1 else 2)
    room = (np.empty(largest, words.dtype), *np.empty((2, largest), np.uint8))
    start, size = 0, min(FIRST, largest)
    while start < n:
        place = slice(start, min(start + size, n))
        block = words[place] if rows is None else words[rows[place]]
        first, *others = block.T
        changed, total, more = (array[: len(block)] for array in room)
        for query, (word, *words_left) in enumerate(wanted):
            np.bitwise_xor(first, word, changed)
            np.bitwise_count(changed, total)
            # Word by word: a single loop over pairs of words takes three times as long.
            for column, other in zip(others, words_left, strict=True):
                np.bitwise_xor(column, other, changed)
                np.bitwise_count(changed, more)
                np.add(total, more, total)
            yield query, start, total
        start, size = place.stop, min(8 * size, largest)


class Nearest:
    """The k nearest of the rows so far.

    A row is kept only if it is nearer than the k-th nearest so far; at equal distance the earlier
    row stays. A block without such a row costs only one search for its minimum. After the first few
    blocks, nearly all blocks are of this kind.
    """

    def __init__(self, k: int, bits: int) -> None:
        self.k = k
        self.cut = bits + 1
        self.pieces: list[Found] = []
        self.waiting = 0

    def see(self, start: int, distances: NDArray[np.uint8]) -> None:
        """Process the rows from ``start`` on."""
        if distances[distances.argmin()] >= self.cut:  # twice as fast as min()
            return
        close = (distances < self.cut).nonzero()[0]
        self.pieces.append((close + start, distances[close]))
        self.waiting += len(close)
        if self.waiting >= self.k:
            self.found()

    def found(self) -> Found:
        """The rows and distances."""
        rows, distances = by_distance(self.pieces)
        self.pieces, self.waiting = [(rows[: self.k], distances[: self.k])], 0
        if len(rows) >= self.k:
            self.cut = int(distances[self.k - 1])
        return self.pieces[0]


def by_distance(pieces: list[Found]) -> Found:
    """Join pieces in row order, and sort by distance and then by row."""
    rows = np.concatenate([np.empty(0, np.intp), *(rows for rows, _ in pieces)])
    distances = np.concatenate([np.empty(0, np.uint8), *(found for _, found in pieces)])
    order = np.argsort(distances, kind="stable")  # counting sort, because the values are bytes
    return rows[order], distances[order]


def in_codes(found: Found, rows: Rows | None) -> Found:
    """Convert positions among the chosen rows to row numbers."""
    return found if rows is None else (rows[found[0]], found[1])
