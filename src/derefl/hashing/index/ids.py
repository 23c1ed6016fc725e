"""Ids: integers and strings. A column of ids is one NumPy array."""

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derefl.errors import HashIndexError

Id = int | str

Column = NDArray[Any]
"""Ids ``[n]``: int64 if all are 64-bit integers, otherwise Python integers and strings."""

Rows = NDArray[np.intp]


def as_column(ids: Iterable[Any]) -> Column:
    """A column of integers, strings and paths; a path becomes a string.

    Raises:
        HashIndexError: an id of another type, or one string instead of a list.
    """
    if isinstance(ids, np.ndarray) and ids.dtype.kind == "i" and ids.ndim == 1:
        return ids.astype(np.int64)
    plain = plain_ids(ids)
    if all(type(id) is int for id in plain):
        try:
            return np.array(plain, np.int64)
        except OverflowError:
            pass
    column = np.empty(len(plain), object)
    column[:] = plain
    return column


def rises(column: Column) -> bool:
    """Whether all ids are integers in strictly rising order."""
    return column.dtype == np.int64 and bool((column[1:] > column[:-1]).all())


def plain_ids(ids: Iterable[Any]) -> list[Id]:
    """Ids as Python integers and strings.

    Raises:
        HashIndexError: an id of another type, or one string instead of a list.
    """
    if isinstance(ids, str | bytes | os.PathLike) or not isinstance(ids, Iterable):
        raise HashIndexError(f"got ids={ids!r}, expected a list of ids; write [{ids!r}]")
    return [plain_id(id) for id in ids]


def plain_id(id: Any) -> Id:
    """An id as a Python integer or string, a path as a string."""
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


class StoredIds:
    """The ids of a file. A block is decoded when one of its ids is needed.

    Args:
        blocks: as :func:`to_file` wrote them.
        bounds: int64 ``[blocks + 1]``, the first row of each block, and the number of rows.
    """

    def __init__(self, blocks: list[bytes | str], bounds: NDArray[np.int64]) -> None:
        self._blocks: list[bytes | str | Column] = [*blocks]
        self._bounds = bounds

    def take(self, rows: Rows) -> list[Id]:
        """The ids of these rows."""
        numbers = np.searchsorted(self._bounds, rows, "right") - 1
        places = rows - self._bounds[numbers]
        pairs = zip(numbers.tolist(), places.tolist(), strict=True)
        return [self._block(number).item(place) for number, place in pairs]

    def all(self) -> Column:
        """All ids."""
        return np.concatenate([np.empty(0, np.int64), *map(self._block, range(len(self._blocks)))])

    def _block(self, number: int) -> Column:
        block = self._blocks[number]
        if not isinstance(block, np.ndarray):
            block = self._blocks[number] = from_file(block)
            if len(block) != self._bounds[number + 1] - self._bounds[number]:
                raise HashIndexError("the index file is damaged: not one id for each code")
        return block
