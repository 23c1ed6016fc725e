"""Ids in little memory, laid out so that a file of them can be used without being parsed."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derefl.errors import HashIndexError
from derefl.hashing.growing import Growing

Id = int | str

CHUNK = 1 << 16
"""So many ids at a time are Python objects when all are gone through."""

ENCODING = {"encoding": "utf-8", "errors": "surrogatepass"}
"""File names that are no valid UTF-8 come from the system with lone surrogates in them."""

NUMBERS = {"numbers": ("<i8", 1)}
TEXT = {"text": ("|u1", 1), "ends": ("<i8", 1), "is_number": ("|u1", 1)}
"""The two layouts of :class:`Ids` in a file: dtype and number of axes."""


class Ids:
    """A column of ids, each an integer or a string.

    It has one of two layouts. As long as all are integers of 64 bits:

    - ``numbers``: int64 ``[n]``.

    Otherwise, integers being written in decimal:

    - ``text``: uint8, the UTF-8 of all, one after the other.
    - ``ends``: int64 ``[n]``, where each ends in ``text``; it begins where the one before ends.
    - ``is_number``: uint8 ``[n]``, 1 for an integer.
    """

    def __init__(self, columns: dict[str, NDArray]) -> None:
        self._columns = {name: Growing(values) for name, values in columns.items()}

    @classmethod
    def of_file(cls, columns: dict[str, Growing]) -> "Ids":
        """The column whose arrays lie in a file; only what costs nothing is looked at.

        Raises:
            HashIndexError: they have neither layout.
        """
        arrays = {name: column.values for name, column in columns.items()}
        layout = {name: (values.dtype.str, values.ndim) for name, values in arrays.items()}
        if layout == NUMBERS or (
            layout == TEXT and len(arrays["ends"]) == len(arrays["is_number"])
        ):
            ids = cls({})
            ids._columns = columns
            return ids
        raise HashIndexError(f"no ids can be in {', '.join(sorted(columns)) or 'no column'}")

    @classmethod
    def of(cls, ids: Iterable[Any]) -> "Ids":
        """The column of some integers, strings and paths; a path becomes a string.

        Raises:
            HashIndexError: something else among them, or one string instead of a list.
        """
        if isinstance(ids, np.ndarray) and ids.dtype.kind == "i" and ids.ndim == 1:
            return cls({"numbers": ids.astype(np.int64)})
        plain = plain_ids(ids)
        if all(type(id) is int for id in plain):
            try:
                return cls({"numbers": np.array(plain, np.int64)})
            except OverflowError:
                pass
        return cls(as_text(plain))

    @property
    def columns(self) -> dict[str, NDArray]:
        """The arrays by name, what a file holds of the ids."""
        return {name: column.values for name, column in self._columns.items()}

    @property
    def numbers(self) -> NDArray[np.int64] | None:
        """The ids as one array, if all are integers of 64 bits."""
        return self.columns.get("numbers")

    def __len__(self) -> int:
        columns = self.columns
        return len(columns["numbers" if "numbers" in columns else "ends"])

    def __iter__(self) -> Iterator[Id]:
        for start in range(0, len(self), CHUNK):
            yield from self.take(np.arange(start, min(start + CHUNK, len(self))))

    def take(self, rows: NDArray[np.intp]) -> list[Id]:
        """The ids in these rows.

        Raises:
            HashIndexError: they came from a file that is damaged.
        """
        columns = self.columns
        if "numbers" in columns:
            return columns["numbers"][rows].tolist()
        ends, text = columns["ends"], columns["text"]
        starts = np.where(rows > 0, ends[rows - 1], 0)
        check_spans(starts, ends[rows], len(text))
        try:
            words = [
                text[start:end].tobytes().decode(**ENCODING)
                for start, end in zip(starts.tolist(), ends[rows].tolist(), strict=True)
            ]
            numbers = columns["is_number"][rows].tolist()
            return [int(w) if n else w for w, n in zip(words, numbers, strict=True)]
        except ValueError as error:
            raise HashIndexError(
                f"the index file is damaged, an id cannot be read ({error}); build it again"
            ) from error

    def has_duplicates(self) -> bool:
        """Whether an id is there twice."""
        numbers = self.numbers
        if numbers is None:
            return len(set(self)) < len(self)
        return not rises(numbers) and not rises(np.sort(numbers))

    def all_below(self, more: "Ids") -> bool:
        """Whether all are integers below all of ``more``, which are then new for certain."""
        numbers, others = self.numbers, more.numbers
        if numbers is None or others is None or 0 in (len(numbers), len(others)):
            return False
        return bool(numbers.max() < others.min())

    def append(self, more: "Ids") -> None:
        """Add ids at the end; ``more`` is not to be used any longer."""
        if len(self) == 0:
            self._columns = more._columns
            return
        columns = more.columns
        if columns.keys() != self._columns.keys():
            columns = as_text(list(more)) if "numbers" in columns else columns
            if "numbers" in self._columns:
                self._columns = Ids(as_text(list(self)))._columns
        if "ends" in columns:
            shift = len(self.columns["text"])
            columns["ends"] = columns["ends"] + shift
        for name, values in columns.items():
            self._columns[name].append(values)

    def where(self, mask: NDArray[np.bool_]) -> "Ids":
        """The ids where ``mask`` ``[n]`` is true."""
        columns = self.columns
        if "numbers" in columns:
            return Ids({"numbers": columns["numbers"][mask]})
        ends, text = columns["ends"], columns["text"]
        lengths = np.diff(ends, prepend=0)
        check_spans(ends - lengths, ends, len(text))
        chosen = np.repeat(mask, lengths)
        return Ids(
            {
                "text": text[: len(chosen)][chosen],
                "ends": np.cumsum(lengths[mask]),
                "is_number": columns["is_number"][mask],
            }
        )


def rises(numbers: NDArray[np.integer]) -> bool:
    """Whether each number is above the one before."""
    return bool((numbers[1:] > numbers[:-1]).all())


def check_spans(starts: NDArray, ends: NDArray, size: int) -> None:
    """Raise HashIndexError unless each span lies within ``size`` bytes and ends after it starts.

    Overlapping ones in a small file that was tampered with could be as many strings as long as it.
    """
    if len(ends) and (starts.min() < 0 or ends.max() > size or (starts > ends).any()):
        raise HashIndexError("the index file is damaged, its ids overlap; build it again")


def as_text(ids: list[Id]) -> dict[str, NDArray]:
    """The columns of the second layout."""
    words = [str(id).encode(**ENCODING) for id in ids]
    return {
        "text": np.frombuffer(b"".join(words), np.uint8),
        "ends": np.cumsum([len(word) for word in words], dtype=np.int64),
        "is_number": np.array([type(id) is int for id in ids], np.uint8),
    }


def plain_ids(ids: Iterable[Any]) -> list[Id]:
    """Ids as Python integers and strings.

    Raises:
        HashIndexError: something else among them, or one string instead of a list.
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
