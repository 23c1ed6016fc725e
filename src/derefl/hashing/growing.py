"""An array that grows at its end."""

import numpy as np
from numpy.typing import NDArray


def with_room(rows: int) -> int:
    """For how many rows there is to be room when everything is laid out anew: an eighth more."""
    return rows + rows // 8


class Growing:
    """Rows to which rows can be appended, with little room to spare and few copies.

    Args:
        room: the rows, and behind them what they may grow into. It is written to there, unless it
            is read-only.
        length: how many rows of ``room`` there are; None means all.
    """

    def __init__(self, room: NDArray, length: int | None = None) -> None:
        self._room = room
        self._length = len(room) if length is None else length

    @property
    def values(self) -> NDArray:
        """The rows; a read-only view that later appends leave as it is."""
        values = self._room[: self._length]
        values.flags.writeable = False
        return values

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
