"""The common part of all indexes: checks of codes, ids, queries and models."""

import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from derefl.errors import HashIndexError
from derefl.hashing.codes import Codes, check_codes
from derefl.hashing.index.ids import Column, Id, as_column, plain_id, rises
from derefl.imaging.sixteen_bit import SixteenBitPicture

if TYPE_CHECKING:
    from derefl.hashing.hasher import Hasher  # importing torch takes seconds

MODEL = "lcdh-student"
"""The model of an index that names no model."""

Where = Container[Any] | Callable[[Id], bool]


class Hit(NamedTuple):
    """A search hit.

    Attributes:
        id: the id of the code.
        distance: the number of bits that differ from the query.
    """

    id: Id
    distance: int


def require_least(least: int, **values: int) -> None:
    """Refuse values that are too small."""
    for name, value in values.items():
        if value < least:
            raise HashIndexError(f"got {name}={value}, expected at least {least}")


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
    _hasher: "Hasher | None" = None

    @abstractmethod
    def __len__(self) -> int: ...

    def __contains__(self, id: Any) -> bool:
        try:
            return self._has(plain_id(id))
        except HashIndexError:
            return False

    @property
    def hasher(self) -> "Hasher":
        """The hasher for texts and pictures. You can set it.

        By default, the first use loads the model that the index names, if the model comes with
        derefl: a file must not start a download.

        Raises:
            HashIndexError: another model, or a hasher that does not fit, see :meth:`require`.
        """
        if self._hasher is None:
            self.load_hasher()
        assert self._hasher is not None
        self.require(self._hasher)  # training may have changed it
        return self._hasher

    @hasher.setter
    def hasher(self, hasher: "Hasher") -> None:
        self.require(hasher)
        self._hasher = hasher

    def load_hasher(self, model: str | None = None, device: str | None = None) -> None:
        """Load the hasher; the arguments are those of ``load_lcdh_student``."""
        from derefl.hashing.hasher import load_lcdh_student
        from derefl.zoo import list_models

        name = self.model
        known = {"", *(entry.name for entry in list_models() if entry.where.bundled)}
        if model is None and name not in known:
            raise HashIndexError(
                f"the index names the model {name!r}, which does not come with derefl; if you "
                f"trust it, add: --model {shlex.quote(name)}, in Python: index.hasher = "
                f"load_lcdh_student({name!r}, bits={self.bits})"
            )
        self.hasher = load_lcdh_student(model or name or MODEL, bits=self.bits, device=device)

    def require(self, hasher: "Hasher") -> None:
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

    def search(self, query: Any, k: int = 10, where: Where | None = None) -> list[Any]:
        """The k nearest codes of a query, or of each of several queries.

        Args:
            query: one query: a text, a picture (PIL, ``Path`` or bytes), or a code uint8
                ``[bits/8]``; or several: an iterable of texts or of pictures, or codes
                ``[q bits/8]``.
            k: maximum number of hits per query.
            where: search only these ids. A HashIndex also takes a function of the id. It asks a
                function, or a container without iteration, about every id, which takes a second
                for some million ids.

        Returns:
            A list of hits, nearest first, and in the order of insertion at equal distance; for
            several queries a list of these lists.

        Raises:
            HashIndexError: queries of another length, k below 1, a function for a database, or a
                text or picture without the model of the codes, see :attr:`hasher`.
            ImageError: a picture cannot be read.
        """
        hits, single = self._nearest(query, k, where)
        return hits[0] if single else hits

    def search_arrays(
        self, query: Any, k: int = 10, where: Where | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """:meth:`search` with arrays as result.

        Returns:
            Ids, int64 or objects, and distances, int64: ``[q k]``, or ``[k]`` for one query. There
            are fewer columns if the index has fewer codes.
        """
        hits, single = self._nearest(query, k, where)
        columns = min(map(len, hits), default=0)
        shape = (columns,) if single else (len(hits), columns)
        ids = as_column([hit.id for some in hits for hit in some[:columns]])
        distances = np.array([hit.distance for some in hits for hit in some[:columns]], np.int64)
        return ids.reshape(shape), distances.reshape(shape)

    def within(self, query: Any, radius: int, where: Where | None = None) -> list[Any]:
        """All codes that differ from a query in at most ``radius`` bits.

        Arguments, result and errors are as in :meth:`search`; a radius below 0 is an error.
        """
        require_least(0, radius=radius)
        queries, single = self._queries(query)
        hits = self._within(queries, radius, None if where is None else self._chosen(where))
        return hits[0] if single else hits

    def _nearest(self, query: Any, k: int, where: Where | None) -> tuple[list[list[Hit]], bool]:
        """The hits of each query, and whether there is only a single one."""
        require_least(1, k=k)
        queries, single = self._queries(query)
        return self._search(queries, k, None if where is None else self._chosen(where)), single

    def _queries(self, query: Any) -> tuple[Codes, bool]:
        """The codes ``[q bits/8]`` of a query, and whether it is a single one."""
        kinds = str | bytes | bytearray | memoryview | os.PathLike | Image.Image | SixteenBitPicture
        single = isinstance(query, kinds)
        items = [query] if single else query
        if isinstance(items, Iterable) and not hasattr(items, "__array__"):
            items = query = list(items)
            if not isinstance(next(iter(items), None), np.ndarray):
                texts = any(isinstance(item, str) for item in items)
                query = self.hasher.encode_text(items) if texts else self.hasher.encode_image(items)
        return check_codes(query, self.bits, "query codes"), single or np.ndim(query) == 1

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
