"""An array that grows at its end."""

import numpy as np
from numpy.typing import NDArray


class Growing:
    """Rows to which rows can be appended, with little room to spare and few copies.

    What it starts from may be read-only, a mapped file for example: it is never written to.
    """

    def __init__(self, values: NDArray) -> None:
        self._room = values
        self._length = len(values)

    @property
    def values(self) -> NDArray:
        """The rows; a view that later appends leave as it is."""
        return self._room[: self._length]

    def append(self, rows: NDArray) -> None:
        """Add rows. Copies everything only once in an eighth of its length."""
        length = self._length + len(rows)
        if length > len(self._room) or not self._room.flags.writeable:
            room = np.empty((length + self._length // 8, *self._room.shape[1:]), self._room.dtype)
            room[: self._length] = self.values
            self._room = room
        self._room[self._length : length] = rows
        self._length = length

    def replace(self, places: NDArray, rows: NDArray) -> None:
        """Put other rows in some places; views given out earlier stay as they are."""
        room = self.values.copy()
        room[places] = rows
        self._room = room
