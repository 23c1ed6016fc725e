"""The common part of all indexes: checks of codes, ids, queries and models."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple, Protocol

from derefl.errors import HashIndexError
from derefl.hashing.codes import Codes, check_codes
from derefl.hashing.index.ids import Column, Id, as_column, plain_id, rises

Where = Container[Any] | Callable[[Id], bool]


class Hit(NamedTuple):
    """A search hit.

    Attributes:
        id: the id of the code.
        distance: the number of bits that differ from the query.
    """

    id: Id
    distance: int


class Coder(Protocol):
    """The attributes of a :class:`~derefl.hashing.hasher.Hasher` that an index checks."""

    bits: int
    name: str
    sha256: str


class Index(ABC):
    """Codes of one length, each with an id, and search by Hamming distance.

    Attributes:
        bits: length of the codes.
        model: name of the model of the codes, for ``load_lcdh_student``.
        sha256: of the model's checkpoint; "" turns the check off.
        place: the index in error messages.
    """

    bits: int
    model: str
    sha256: str
    place = "the index"

    @abstractmethod
    def __len__(self) -> int: ...

    def __contains__(self, id: Any) -> bool:
        try:
            return self._has(plain_id(id))
        except HashIndexError:
            return False

    def require(self, hasher: Coder) -> None:
        """Refuse a hasher that does not fit the codes in the index.

        Raises:
            HashIndexError: another code length, or other weights.
        """
        if hasher.bits != self.bits:
            raise HashIndexError(
                f"{self.place} has codes of {self.bits} bits, got a hasher of {hasher.bits}; load "
                f"it with load_lcdh_student({self.model or 'lcdh-student'!r}, bits={self.bits}), "
                "or build the index again"
            )
        if self.sha256 and hasher.sha256 != self.sha256:
            raise HashIndexError(
                f"{self.place} has codes of the model {self.model!r} (sha256 "
                f"{self.sha256[:12]}…), got {hasher.name!r} (sha256 "
                f"{hasher.sha256[:12] or 'unknown'}…), whose codes do not compare with them; "
                "search with the model of the index, or build the index again with this model"
            )

    def add(self, codes: Codes, ids: Iterable[Any]) -> None:
        """Add codes at the end.

        Args:
            codes: uint8 ``[n bits/8]``, or one code ``[bits/8]``.
            ids: n integers or strings, all different and new to the index; a path becomes a string.
                A database has ids of one type.

        Raises:
            HashIndexError: wrong codes or ids; the index is unchanged.
        """
        self._add(*self._checked(codes, ids))

    def upsert(self, codes: Codes, ids: Iterable[Any]) -> None:
        """Add codes, and replace the codes of known ids. Replaced codes keep their places.

        Arguments and errors are as in :meth:`add`, but the index may already have the ids.
        """
        self._upsert(*self._checked(codes, ids))

    def remove(self, ids: Iterable[Any]) -> None:
        """Remove ids and their codes.

        Raises:
            HashIndexError: an id is not in the index; the index is unchanged.
        """
        self._remove(as_column(ids))

    def search(self, codes: Codes, k: int = 10, where: Where | None = None) -> list[list[Hit]]:
        """The k nearest codes of each query.

        Args:
            codes: queries, uint8 ``[q bits/8]``, or one ``[bits/8]``.
            k: maximum number of hits per query.
            where: search only these ids. A HashIndex also takes a function of the id. It asks a
                function, or a container without iteration, about every id, which takes a second
                for some million ids.

        Returns:
            A list of hits for each query, nearest first, and in the order of insertion at equal
            distance.

        Raises:
            HashIndexError: queries of another length, k below 1, or a function for a database.
        """
        if k < 1:
            raise HashIndexError(f"got k={k}, expected at least 1")
        queries = check_codes(codes, self.bits, "query codes")
        return self._search(queries, k, None if where is None else self._chosen(where))

    def within(self, codes: Codes, radius: int, where: Where | None = None) -> list[list[Hit]]:
        """All codes that differ from a query in at most ``radius`` bits.

        Arguments, order and errors are as in :meth:`search`; a radius below 0 is an error.
        """
        if radius < 0:
            raise HashIndexError(f"got radius={radius}, expected at least 0")
        queries = check_codes(codes, self.bits, "query codes")
        return self._within(queries, radius, None if where is None else self._chosen(where))

    def _checked(self, codes: Codes, ids: Iterable[Any]) -> tuple[Codes, Column]:
        """Codes and ids that fit each other."""
        codes, new = check_codes(codes, self.bits), as_column(ids)
        if len(codes) != len(new):
            raise HashIndexError(
                f"got {len(codes)} codes and {len(new)} ids, expected one id for each code"
            )
        if not rises(new) and len(set(new.tolist())) < len(new):
            raise HashIndexError("an id is given twice, expected each once; leave one out")
        return codes, new

    def _known_error(self, id: Id) -> HashIndexError:
        return HashIndexError(
            f"the id {id!r} is in {self.place} already; use upsert to replace its code, or give it "
            "another id"
        )

    def _unknown_error(self, id: Id) -> HashIndexError:
        return HashIndexError(
            f"the id {id!r} is not in {self.place}, expected one of its {len(self)} ids; ask "
            f"first: {id!r} in index"
        )

    @abstractmethod
    def _has(self, id: Id) -> bool: ...

    @abstractmethod
    def _add(self, codes: Codes, ids: Column) -> None: ...

    @abstractmethod
    def _upsert(self, codes: Codes, ids: Column) -> None: ...

    @abstractmethod
    def _remove(self, ids: Column) -> None: ...

    @abstractmethod
    def _chosen(self, where: Where) -> Any:
        """The form of a filter that ``_search`` and ``_within`` take."""

    @abstractmethod
    def _search(self, queries: Codes, k: int, chosen: Any) -> list[list[Hit]]: ...

    @abstractmethod
    def _within(self, queries: Codes, radius: int, chosen: Any) -> list[list[Hit]]: ...
