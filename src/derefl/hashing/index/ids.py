"""Ids: integers and strings, in memory and in the format of an index file."""

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derefl.errors import HashIndexError
from derefl.hashing.index.scan import Rows

Id = int | str

Column = NDArray[Any]
"""Ids ``[n]``: int64 if all are 64-bit integers, otherwise Python integers and strings."""


class Ids:
    """The ids of an index, one for each row.

    A block of a file is decoded when one of its ids is needed. Rising integers are looked up by
    bisection; other ids need a dictionary, which is built for the first lookup.

    Args:
        blocks: as :func:`to_file` wrote them.
        bounds: int64 ``[blocks + 1]``, the first row of each block, and the number of rows.
    """

    def __init__(
        self, blocks: Iterable[bytes | str] = (), bounds: NDArray[np.int64] | None = None
    ) -> None:
        self._pieces: list[bytes | str | Column] = [*blocks]
        self._bounds = np.zeros(1, np.int64) if bounds is None else bounds
        self._rising = None if self._pieces else True  # rises() of all ids; None: not yet known
        self._known: dict[Id, int] | None = None  # id to row

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def column(self) -> Column:
        """All ids; read-only."""
        if len(self._pieces) != 1 or not isinstance(self._pieces[0], np.ndarray):
            pieces = map(self._piece, range(len(self._pieces)))
            self._pieces = [np.concatenate([np.empty(0, np.int64), *pieces])]
            self._bounds = np.array([0, len(self)])
        column = self._piece(0)
        column.flags.writeable = False
        if self._rising is None:
            self._rising = rises(column)
        return column

    def take(self, rows: Rows) -> list[Id]:
        """The ids of these rows."""
        numbers = np.searchsorted(self._bounds, rows, "right") - 1
        places = rows - self._bounds[numbers]
        pairs = zip(numbers.tolist(), places.tolist(), strict=True)
        return [self._piece(number).item(place) for number, place in pairs]

    def rows(self, ids: Column) -> Rows:
        """The row of each id, −1 if the id is not there."""
        if not len(self) or self._go_on_rising(ids):
            return np.full(len(ids), -1, np.intp)
        if self._known is None and self._rising and ids.dtype == np.int64:
            column = self.column()
            rows = np.minimum(np.searchsorted(column, ids), len(self) - 1)
            return np.where(column[rows] == ids, rows, -1)
        if self._known is None:
            self._known = dict(zip(self.column().tolist(), range(len(self)), strict=True))
        return np.array([self._known.get(id, -1) for id in ids.tolist()], np.intp)

    def append(self, new: Column) -> None:
        """Add ids that are not there."""
        self._rising = self._go_on_rising(new)
        end = len(self) + len(new)
        if self._known is not None:
            self._known.update(zip(new.tolist(), range(len(self), end), strict=True))
        self._pieces.append(new)
        self._bounds = np.append(self._bounds, end)

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Remove the ids of the other rows."""
        self._pieces, self._known = [self.column()[chosen]], None
        self._bounds = np.array([0, int(chosen.sum())])

    def _go_on_rising(self, new: Column) -> bool:
        """Whether the ids and the new ids are rising integers, and therefore all different."""
        if self._rising is None:
            self.column()
        both = bool(self._rising) and rises(new)
        return both and (not len(self) or not len(new) or bool(self._pieces[-1][-1] < new[0]))

    def _piece(self, number: int) -> Column:
        piece = self._pieces[number]
        if not isinstance(piece, np.ndarray):
            piece = self._pieces[number] = from_file(piece)
            if len(piece) != self._bounds[number + 1] - self._bounds[number]:
                raise HashIndexError("the index file is damaged: not one id for each code")
        return piece


def as_column(ids: Iterable[Any]) -> Column:
    """A column of integers, strings and paths; a path becomes a string.

    Raises:
        HashIndexError: an id of another type, or one string instead of a list.
    """
    if isinstance(ids, np.ndarray) and ids.dtype.kind == "i" and ids.ndim == 1:
        return ids.astype(np.int64)
    if isinstance(ids, str | bytes | os.PathLike) or not isinstance(ids, Iterable):
        raise HashIndexError(f"got ids={ids!r}, expected a list of ids; write [{ids!r}]")
    plain = [plain_id(id) for id in ids]
    if all(type(id) is int for id in plain):
        try:
            return np.array(plain, np.int64)
        except OverflowError:
            pass
    column = np.empty(len(plain), object)
    column[:] = plain
    return column


def plain_id(id: Any) -> Id:
    """An id as a Python integer or string, a path as a string.

    Raises:
        HashIndexError: an id of another type.
    """
    if type(id) is int or type(id) is str:
        return id
    if isinstance(id, str):
        return str(id)
    if isinstance(id, int | np.integer) and not isinstance(id, bool):
        return int(id)
    if isinstance(id, os.PathLike):
        return os.fsdecode(id)
    raise HashIndexError(
        f"got the id {id!r} of type {type(id).__name__}, expected an integer, a string or a path; "
        f"write {str(id)!r}"
    )


def rises(column: Column) -> bool:
    """Whether all ids are integers in strictly rising order."""
    return column.dtype == np.int64 and bool((column[1:] > column[:-1]).all())


def to_file(column: Column) -> bytes | str:
    """The format of ids in an index file: little-endian int64, or a JSON array."""
    if column.dtype == np.int64:
        return column.astype("<i8").tobytes()
    return json.dumps(column.tolist())


def from_file(content: bytes | str) -> Column:
    """The reverse of :func:`to_file`.

    Raises:
        HashIndexError: the content is damaged.
    """
    try:
        if isinstance(content, bytes):
            return np.frombuffer(content, "<i8").astype(np.int64, copy=False)
        return as_column(json.loads(content))
    except (ValueError, TypeError, RecursionError, HashIndexError) as error:
        raise HashIndexError(f"the index file is damaged: ids cannot be read ({error})") from error
