"""The common part of the indexes in databases: checks of the input and of the model."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from derefl.errors import HashIndexError
from derefl.hashing.codes import Codes, check_bits, check_codes
from derefl.hashing.index.hash_index import Coder, HashIndex, Hit
from derefl.hashing.index.ids import Id, plain_ids

IdType = type[int] | type[str]


@dataclass(frozen=True)
class About:
    """The description of a table's codes, stored as JSON in the table's comment.

    Attributes:
        bits: length of the codes.
        model: name of the model of the codes, for ``load_lcdh_student``; "" if unknown.
        sha256: of the model's checkpoint; "" turns the check off.
        ids: the type of the ids, ``"str"`` or ``"int"``.
    """

    bits: int = 64
    model: str = ""
    sha256: str = ""
    ids: str = "str"

    @property
    def text(self) -> str:
        """Write the comment."""
        return json.dumps({"derefl": 1, **asdict(self)})

    @classmethod
    def read(cls, comment: str | None, table: str) -> "About":
        """Read the comment.

        Raises:
            HashIndexError: not a table of derefl, or from a newer derefl.
        """
        try:
            values = json.loads(comment or "")
            if values.pop("derefl") != 1:
                raise HashIndexError(
                    f"the table {table!r} was made by a newer derefl; update derefl"
                )
            about = cls(**values)
            check_bits(about.bits)
            return about
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HashIndexError(
                f"the table {table!r} is there, but its comment does not say that it is an index "
                "of derefl; choose another name"
            ) from error


class DatabaseIndex(ABC):
    """Codes of one length, each with an id, in a table; search by Hamming distance.

    As in a :class:`~derefl.HashIndex`, hits are sorted by distance, and at equal distance by the
    order of insertion. The ids of a table are all strings or all 64-bit integers.
    """

    def __init__(
        self, table: str, bits: int | None, model: str, sha256: str, ids: IdType | None
    ) -> None:
        """Open or create the table."""
        if not table or "\0" in table or not is_unicode(table):
            raise HashIndexError(
                f"got the table name {table!r}, expected valid Unicode without NUL; choose another"
            )
        self.table = table
        asked = {"bits": bits, "sha256": sha256, "ids": ids.__name__ if ids else None}
        asked = {name: value for name, value in asked.items() if value}
        if bits is not None:
            check_bits(bits)
        self._about = About(model=model, **asked)  # type: ignore[arg-type]
        comment = self._comment()
        if comment is None:
            self._create()
            return
        self._about = About.read(comment, table)
        for name, value in asked.items():
            if (there := getattr(self._about, name)) != value and there:
                raise HashIndexError(
                    f"the table {table!r} has {name}={there!r} (model {self.model!r}), got "
                    f"{value!r}; leave {name} out to open it, or choose another name"
                )

    @property
    def bits(self) -> int:
        """Length of the codes."""
        return self._about.bits

    @property
    def model(self) -> str:
        """Name of the model of the codes, for ``load_lcdh_student``."""
        return self._about.model

    @property
    def sha256(self) -> str:
        """Of the model's checkpoint; "" turns the check off."""
        return self._about.sha256

    def __contains__(self, id: Any) -> bool:
        try:
            ids = self._chosen([id])
        except HashIndexError:
            return False
        return self._has(ids[0]) if ids else False

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.table!r} of codes of {self.bits} bits, "
            f"model {self.model!r}>"
        )

    def require(self, hasher: Coder) -> None:
        """Refuse a hasher that does not fit the codes in the table.

        Raises:
            HashIndexError: another code length, or other weights.
        """
        HashIndex(self.bits, self.model, self.sha256).require(hasher)

    def add(self, codes: Codes, ids: Iterable[Any]) -> None:
        """Add codes at the end.

        Args:
            codes: uint8 ``[n bits/8]``, or one code ``[bits/8]``.
            ids: n ids of the table's type, all different and new to the table; a path becomes a
                string.

        Raises:
            HashIndexError: wrong codes or ids; the table is unchanged.
        """
        self._add(self._checked(codes, ids))

    def upsert(self, codes: Codes, ids: Iterable[Any]) -> None:
        """Add codes, and replace the codes of known ids. Replaced codes keep their places.

        Arguments and errors are as in :meth:`add`, but the table may already have the ids.
        """
        self._upsert(self._checked(codes, ids))

    def remove(self, ids: Iterable[Any]) -> None:
        """Remove ids and their codes.

        Raises:
            HashIndexError: an id is not in the table; the table is unchanged.
        """
        self._remove([self._fitting(id) for id in plain_ids(ids)])

    def search(
        self, codes: Codes, k: int = 10, where: Iterable[Any] | None = None
    ) -> list[list[Hit]]:
        """The k nearest codes of each query.

        Args:
            codes: queries, uint8 ``[q bits/8]``, or one ``[bits/8]``.
            k: maximum number of hits per query.
            where: search only these ids.

        Returns:
            A list of hits for each query, nearest first, and in the order of insertion at equal
            distance.

        Raises:
            HashIndexError: queries of another length, k below 1, or ``where`` is a function.
        """
        if k < 1:
            raise HashIndexError(f"got k={k}, expected at least 1")
        queries = check_codes(codes, self.bits, "query codes")
        return self._search(queries, k, self._chosen(where))

    def within(
        self, codes: Codes, radius: int, where: Iterable[Any] | None = None
    ) -> list[list[Hit]]:
        """All codes that differ from a query in at most ``radius`` bits.

        Arguments, order and errors are as in :meth:`search`; a radius below 0 is an error.
        """
        if radius < 0:
            raise HashIndexError(f"got radius={radius}, expected at least 0")
        queries = check_codes(codes, self.bits, "query codes")
        return self._within(queries, radius, self._chosen(where))

    def _checked(self, codes: Codes, ids: Iterable[Any]) -> HashIndex:
        """Codes and ids, checked against each other and the table."""
        batch = HashIndex(self.bits)
        batch.add(codes, ids)
        for id in batch.ids:
            self._fitting(id)
        return batch

    def _fitting(self, id: Id) -> Id:
        """The id, if its type and value fit the table."""
        if not self._fits(id):
            what = "64-bit integers" if self._about.ids == "int" else "strings of valid Unicode"
            raise HashIndexError(
                f"got the id {id!r}, but the ids of the table {self.table!r} are {what}; give "
                "ids=int or ids=str when the table is made"
            )
        return id

    def _fits(self, id: Id) -> bool:
        if self._about.ids == "int":
            return isinstance(id, int) and -(2**63) <= id < 2**63
        # Both databases refuse NUL and halves of surrogate pairs in a text.
        return isinstance(id, str) and "\0" not in id and is_unicode(id)

    def _chosen(self, where: Iterable[Any] | None) -> list[Id] | None:
        """The ids of a filter that the table may have."""
        if where is None:
            return None
        if callable(where):
            raise HashIndexError(
                "got a function for where, which cannot run in the database, expected ids; "
                "select them there first"
            )
        return [id for id in plain_ids(where) if self._fits(id)]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def disk_bytes(self) -> int:
        """The size of the table and its indexes on disk."""

    @abstractmethod
    def _comment(self) -> str | None:
        """The table's comment; None if the table does not exist."""

    @abstractmethod
    def _create(self) -> None: ...

    @abstractmethod
    def _has(self, id: Id) -> bool: ...

    @abstractmethod
    def _add(self, batch: HashIndex) -> None: ...

    @abstractmethod
    def _upsert(self, batch: HashIndex) -> None: ...

    @abstractmethod
    def _remove(self, ids: list[Id]) -> None: ...

    @abstractmethod
    def _search(self, queries: Codes, k: int, ids: list[Id] | None) -> list[list[Hit]]: ...

    @abstractmethod
    def _within(self, queries: Codes, radius: int, ids: list[Id] | None) -> list[list[Hit]]: ...


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can encode the text."""
    try:
        text.encode()
        return True
    except UnicodeEncodeError:
        return False


def not_there(id: Id, table: str) -> HashIndexError:
    """The error for the removal of an unknown id."""
    return HashIndexError(f"the id {id!r} is not in the table {table!r}; check the spelling")


def there_already(id: Id, table: str) -> HashIndexError:
    """The error for an added id that is already in the table."""
    return HashIndexError(
        f"the id {id!r} is in the table {table!r} already; use upsert to replace its code, or give "
        "it another id"
    )
