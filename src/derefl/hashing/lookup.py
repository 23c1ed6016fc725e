"""Where ids are: from an id to its row."""

import numpy as np
from numpy.typing import NDArray

from derefl.hashing.ids import Id, Ids, rises

Rows = NDArray[np.intp]


class Lookup:
    """From ids to their rows.

    Integers are looked up in a sorted array, which is the column of ids itself as long as they
    rise; others, and what comes later, in a dictionary, which takes some hundred bytes an id.
    """

    def __init__(self, ids: Ids) -> None:
        self._sorted: NDArray[np.int64] = np.empty(0, np.int64)
        self._order: Rows | None = None
        self._others: dict[Id, int] = {}
        numbers = ids.numbers
        if numbers is None or rises(numbers):
            self.extend(ids, 0)
        else:
            self._order = np.argsort(numbers)
            self._sorted = numbers[self._order]

    def extend(self, ids: Ids, start: int) -> None:
        """Take in the ids in the rows from ``start`` on; those before are known."""
        numbers = ids.numbers
        rose = self._order is None and len(self._sorted) == start
        if rose and numbers is not None and rises(numbers[max(start - 1, 0) :]):
            self._sorted = numbers
        else:
            rows = range(start, len(ids))
            self._others.update(zip(ids.take(np.arange(start, len(ids))), rows, strict=True))

    def rows(self, ids: Ids) -> Rows:
        """The row of each id, −1 where it is in none."""
        numbers = ids.numbers
        if numbers is None:
            return np.array([self.row(id) for id in ids], np.intp)
        rows = self._among_sorted(numbers)
        if self._others:
            for place in np.flatnonzero(rows < 0).tolist():
                rows[place] = self._others.get(int(numbers[place]), -1)
        return rows

    def row(self, id: Id) -> int:
        """The row of an id, −1 if it is in none."""
        row = self._others.get(id, -1)
        if row < 0 and type(id) is int and -(2**63) <= id < 2**63:
            row = int(self._among_sorted(np.array([id]))[0])
        return row

    def _among_sorted(self, numbers: NDArray[np.int64]) -> Rows:
        if len(self._sorted) == 0:
            return np.full(len(numbers), -1, np.intp)
        places = np.minimum(np.searchsorted(self._sorted, numbers), len(self._sorted) - 1)
        rows = places if self._order is None else self._order[places]
        return np.where(self._sorted[places] == numbers, rows, -1)
