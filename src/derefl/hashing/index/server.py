"""The common part of the indexes in databases."""

import json
from abc import abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from derefl.errors import HashIndexError
from derefl.hashing.codes import Codes, check_bits
from derefl.hashing.index.base import Index, Where
from derefl.hashing.index.ids import Column, Id, as_column

IdType = type[int] | type[str]


class DatabaseIndex(Index):
    """Codes of one length, each with an id, in a table; search by Hamming distance.

    As in a :class:`~derefl.HashIndex`, hits are sorted by distance, and at equal distance by the
    order of insertion. The ids of a table are all strings or all 64-bit integers. The table's
    comment holds the code length, the model and the type of the ids as JSON.
    """

    def __init__(
        self, table: str, bits: int | None, model: str, sha256: str, ids: IdType | None
    ) -> None:
        """Open or create the table."""
        if not table or not is_text(table):
            raise HashIndexError(
                f"got the table name {table!r}, expected valid Unicode without NUL; choose another"
            )
        if bits is not None:
            check_bits(bits)
        self.table, self.place = table, f"the table {table!r}"
        asked = {"bits": bits, "sha256": sha256, "ids": ids.__name__ if ids else None}
        asked = {name: value for name, value in asked.items() if value}
        self._describe({"bits": 64, "model": model, "sha256": "", "ids": "str", **asked})
        comment = self._comment()
        if comment is None:
            self._create(json.dumps({"derefl": 1, **self._about}))
        else:
            self._describe(self._parsed(comment))
        for name, value in asked.items():
            if (there := self._about[name]) != value and there:
                raise HashIndexError(
                    f"{self.place} has {name}={there!r} (model {self.model!r}), got {value!r}; "
                    f"leave {name} out to open it, or choose another name"
                )

    def _describe(self, about: dict[str, Any]) -> None:
        self._about, self._integers = about, about["ids"] == "int"
        self.bits, self.model, self.sha256 = about["bits"], about["model"], about["sha256"]

    def _parsed(self, comment: str) -> dict[str, Any]:
        try:
            about = json.loads(comment)
            if about["derefl"] != 1:
                raise HashIndexError(f"{self.place} was made by a newer derefl; update derefl")
            check_bits(about["bits"])
            return {name: about[name] for name in ("bits", "model", "sha256", "ids")}
        except (ValueError, TypeError, KeyError) as error:
            raise HashIndexError(
                f"{self.place} is there, but its comment does not say that it is an index of "
                "derefl; choose another name"
            ) from error

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.table!r} of codes of {self.bits} bits, "
            f"model {self.model!r}>"
        )

    def _remove(self, ids: Column) -> None:
        gone = self._fitting(ids).tolist()
        with self._transaction():
            known = set(self._known(gone))
            for id in gone:
                if id not in known:
                    raise self._unknown_error(id)
            self._delete(gone)

    def _has(self, id: Id) -> bool:
        with self._transaction():
            return bool(self._fits(id) and self._known([id]))

    def _checked(self, codes: Codes, ids: Iterable[Any]) -> tuple[Codes, Column]:
        codes, new = super()._checked(codes, ids)
        return codes, self._fitting(new)

    def _fitting(self, ids: Column) -> Column:
        """The ids, if their types and values fit the table."""
        for id in ids.tolist():
            if not self._fits(id):
                what = "64-bit integers" if self._integers else "strings of valid Unicode"
                raise HashIndexError(
                    f"got the id {id!r}, but the ids of {self.place} are {what}; give ids=int or "
                    "ids=str when the table is made"
                )
        return ids

    def _fits(self, id: Id) -> bool:
        if self._integers:
            return isinstance(id, int) and -(2**63) <= id < 2**63
        return isinstance(id, str) and is_text(id)

    def _chosen(self, where: Where) -> list[Id]:
        """The ids of a filter that the table may have."""
        if callable(where) or not isinstance(where, Iterable):
            raise HashIndexError(
                "got a function for where, which cannot run in the database, expected ids; "
                "select them there first"
            )
        return [id for id in as_column(where).tolist() if self._fits(id)]

    def _transaction(self) -> AbstractContextManager[Any]:
        """All or nothing, if the database has transactions."""
        return nullcontext()

    @abstractmethod
    def disk_bytes(self) -> int:
        """The size of the table and its indexes on disk."""

    @abstractmethod
    def _comment(self) -> str | None:
        """The table's comment; None if the table does not exist."""

    @abstractmethod
    def _create(self, comment: str) -> None: ...

    @abstractmethod
    def _known(self, ids: list[Id]) -> Iterable[Id]:
        """Those of the ids that are in the table."""

    @abstractmethod
    def _delete(self, ids: list[Id]) -> None: ...


def is_text(text: str) -> bool:
    """Whether a database takes the text: both refuse NUL and halves of surrogate pairs."""
    try:
        text.encode()
        return "\0" not in text
    except UnicodeEncodeError:
        return False
