"""The index: codes and their ids, and the exact search among them."""

import json
from collections.abc import Callable, Container, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from derefl.errors import ConfigError, HashIndexError
from derefl.hashing import scan
from derefl.hashing.codes import Codes, check_bits, check_codes
from derefl.hashing.growing import Growing
from derefl.hashing.ids import Id, Ids, plain_id
from derefl.hashing.index_file import VERSION, Head, IndexFile, open_index
from derefl.hashing.index_write import append_index, write_index
from derefl.hashing.lookup import Lookup

Where = Container[Any] | Callable[[Id], bool]


class Hit(NamedTuple):
    """A code that was found.

    Attributes:
        id: what it was added under.
        distance: the number of bits in which it differs from the query.
    """

    id: Id
    distance: int


class Coder(Protocol):
    """What an index wants to know of a :class:`~derefl.hashing.hasher.Hasher`."""

    bits: int
    name: str
    sha256: str


class HashIndex:
    """Codes of one length with an id each, searched exactly by Hamming distance.

    Hits come by distance, and those equally far in the order in which they were added. Searches
    read only, so that several threads may search at once, but not while one changes the index.

    In memory it takes the codes, 8 bytes an integer id, and the length of a string id + 9; adding
    in many steps may take an eighth more. What looks ids up (``in``, ``upsert``, ``remove``,
    ``where`` with a list or set, ``add`` to what is there, unless integers go on rising) needs
    more when it is first done: nothing for integers that rise, 16 bytes each for other integers,
    and a dictionary for strings, which is far larger.

    Args:
        bits: length of the codes, one of :data:`~derefl.hashing.codes.BITS`.
        model: name of the model that makes the codes, for ``load_lcdh_student``.
        sha256: of its checkpoint; "" if that is not to be checked.

    Raises:
        ConfigError: there are no codes of this length.
    """

    def __init__(self, bits: int = 64, model: str = "", sha256: str = "") -> None:
        check_bits(bits)
        self.bits, self.model, self.sha256 = bits, model, sha256
        self._codes = Growing(np.empty((0, bits // 8), np.uint8))
        self._ids = Ids.of([])
        self._extra: dict[str, Any] | NDArray[np.uint8] = {}
        self._known: Lookup | None = None
        self._file: IndexFile | None = None
        self._head: Head | None = None  # of a file that holds what the index begins with

    # what is in it

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id: Any) -> bool:
        try:
            return self._lookup().row(plain_id(id)) >= 0
        except HashIndexError:
            return False

    def __repr__(self) -> str:
        return f"<HashIndex of {len(self):,} codes of {self.bits} bits, model {self.model!r}>"

    @property
    def codes(self) -> Codes:
        """The codes in the order of insertion, uint8 ``[n bits/8]``; read-only."""
        codes = self._codes.values.view()
        codes.flags.writeable = False
        return codes

    @property
    def ids(self) -> list[Id]:
        """The ids in the order of insertion."""
        return list(self._ids)

    @property
    def integer_ids(self) -> NDArray[np.int64] | None:
        """The ids in the order of insertion as one array, if all are integers of 64 bits."""
        return self._ids.numbers

    @property
    def extra(self) -> dict[str, Any]:
        """Any JSON values that the file is to keep; they are parsed when first asked for."""
        if isinstance(self._extra, np.ndarray):
            try:
                extra = json.loads(self._extra.tobytes())
                self._extra = {**extra}
            except (ValueError, TypeError, RecursionError) as error:
                raise HashIndexError(
                    f"the index file is damaged, its extra values cannot be read ({error}); "
                    "build it again"
                ) from error
        return self._extra

    @extra.setter
    def extra(self, values: dict[str, Any]) -> None:
        self._extra = values

    def require(self, hasher: Coder) -> None:
        """Refuse a hasher whose codes mean something else than those in the index.

        Raises:
            HashIndexError: it has another code length, or other weights.
        """
        if hasher.bits != self.bits:
            raise HashIndexError(
                f"the index has codes of {self.bits} bits, got a hasher of {hasher.bits}; load it "
                f"with load_lcdh_student({self.model or 'lcdh-student'!r}, bits={self.bits}), or "
                "build the index anew"
            )
        if self.sha256 and hasher.sha256 != self.sha256:
            raise HashIndexError(
                f"the index has codes of the model {self.model!r} (sha256 {self.sha256[:12]}…), "
                f"got {hasher.name!r} (sha256 {hasher.sha256[:12] or 'unknown'}…), whose codes do "
                "not compare with them; search with the model of the index, or build the index "
                "anew with this one"
            )

    # changing it

    def add(self, codes: Codes, ids: Iterable[Any]) -> None:
        """Add codes at the end.

        Args:
            codes: uint8 ``[n bits/8]``, or one code ``[bits/8]``.
            ids: n integers or strings, none twice and none that is there; a path becomes a string.

        Raises:
            HashIndexError: something does not fit; nothing is added then.
        """
        codes, new = self._checked(codes, ids)
        if len(self) and not self._ids.all_below(new):  # else there is nothing to look up
            known = np.flatnonzero(self._lookup().rows(new) >= 0)
            if len(known):
                id = new.take(known[:1])[0]
                raise HashIndexError(
                    f"the id {id!r} is in the index already; use upsert to replace its code, or "
                    "give it another id"
                )
        self._append(codes, new)

    def upsert(self, codes: Codes, ids: Iterable[Any]) -> None:
        """Add codes, and replace the codes of ids that are there, which keep their places.

        Args and raises: as :meth:`add`, but ids may be there.
        """
        codes, new = self._checked(codes, ids)
        rows = self._lookup().rows(new)
        known = rows >= 0
        if known.any():
            self._codes.replace(rows[known], codes[known])
            self._head = None
        if not known.all():
            self._append(codes[~known], new.where(~known))

    def remove(self, ids: Iterable[Any]) -> None:
        """Remove ids and their codes.

        Raises:
            HashIndexError: one is not there; nothing is removed then.
        """
        gone = Ids.of(ids)
        rows = self._lookup().rows(gone)
        strangers = np.flatnonzero(rows < 0)
        if len(strangers):
            id = gone.take(strangers[:1])[0]
            raise HashIndexError(
                f"the id {id!r} is not in the index, expected one of its {len(self)} ids; ask "
                f"first: {id!r} in index"
            )
        if len(rows) == 0:
            return
        keep = np.ones(len(self), np.bool_)
        keep[rows] = False
        self._codes = Growing(self._codes.values[keep])
        self._ids = self._ids.where(keep)
        self._known = self._head = None

    def _checked(self, codes: Codes, ids: Iterable[Any]) -> tuple[Codes, Ids]:
        codes, new = check_codes(codes, self.bits), Ids.of(ids)
        if len(codes) != len(new):
            raise HashIndexError(
                f"got {len(codes)} codes and {len(new)} ids, expected one id a code"
            )
        if new.has_duplicates():
            raise HashIndexError("an id is given twice, expected each once; leave one out")
        return codes, new

    def _append(self, codes: Codes, new: Ids) -> None:
        start = len(self)
        self._codes.append(codes)
        self._ids.append(new)
        if self._known is not None:
            self._known.extend(self._ids, start)

    def _lookup(self) -> Lookup:
        """From an id to its row."""
        if self._known is None:
            self._known = Lookup(self._ids)
        return self._known

    # searching

    def search(self, codes: Codes, k: int = 10, where: Where | None = None) -> list[list[Hit]]:
        """The k nearest codes of each query.

        Args:
            codes: queries, uint8 ``[q bits/8]``, or one ``[bits/8]``.
            k: how many; there are fewer hits if the index has fewer.
            where: look only at these ids, or at those for which this function is true. Ids are
                looked up; a function, or a container that cannot be gone through, is asked for
                every id, a second for some million.

        Returns:
            A list of hits for each query, nearest first; of equals, those added first.

        Raises:
            HashIndexError: queries of another length, or k below 1.
        """
        if k < 1:
            raise HashIndexError(f"got k={k}, expected at least 1")
        queries = check_codes(codes, self.bits, "query codes")
        return self._hits(scan.nearest(self._codes.values, queries, k, self._chosen(where)))

    def within(self, codes: Codes, radius: int, where: Where | None = None) -> list[list[Hit]]:
        """All codes that differ from a query in at most ``radius`` bits.

        Args, order and raises: as :meth:`search`; a radius below 0 is refused.
        """
        if radius < 0:
            raise HashIndexError(f"got radius={radius}, expected at least 0")
        queries = check_codes(codes, self.bits, "query codes")
        return self._hits(scan.within(self._codes.values, queries, radius, self._chosen(where)))

    def _chosen(self, where: Where | None) -> scan.Rows | None:
        """The rows that a filter leaves."""
        if where is None:
            return None
        if isinstance(where, Iterable) and not callable(where):
            rows = self._lookup().rows(Ids.of(where))
            rows = np.sort(rows[rows >= 0])
            return rows[np.diff(rows, prepend=-1) > 0]  # some ids may be given twice
        allows = where if callable(where) else where.__contains__
        return np.flatnonzero(np.fromiter(map(allows, self._ids), np.bool_, len(self)))

    def _hits(self, found: list[scan.Found]) -> list[list[Hit]]:
        make = partial(tuple.__new__, Hit)  # Hit itself takes a tenth of a search among a million
        return [
            list(map(make, zip(self._ids.take(rows), distances.tolist(), strict=True)))
            for rows, distances in found
        ]

    # files

    def save(self, path: str | Path) -> None:
        """Write the index, whole or not at all, replacing a file that is there.

        It may be the file that the index was loaded from or last saved to. If codes were only added
        since, they alone are written, as long as the file has room: it is written with room for an
        eighth more. Whoever has the file open keeps what they see. Of two that save to one file,
        the last one wins.

        Raises:
            HashIndexError: it cannot be written.
        """
        extra = self._extra
        if isinstance(extra, dict):
            extra = np.frombuffer(json.dumps(extra).encode(), np.uint8)
        about = {"bits": self.bits, "model": self.model, "sha256": self.sha256, "count": len(self)}
        contents = (about, {"codes": self._codes.values, **self._ids.columns}, extra)
        head = append_index(path, self._head, *contents) if self._head else None
        self._head = head or write_index(path, *contents)

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = False) -> "HashIndex":
        """Open an index file of any size in milliseconds; pages are read when a search needs them.

        Adding takes memory for what is new, while the file has room; other changes copy all into
        memory. The file stays as it is until ``save``.

        Args:
            path: what :meth:`save` or ``derefl index`` wrote.
            verify: also read all of it and compare it with its checksums. Otherwise only the header
                is checked, and that the file is as long as it says.

        Raises:
            HashIndexError: no such file, of another kind or a newer format, damaged or cut short.
        """
        file = open_index(path)
        if verify:
            file.verify()
        header, sections = file.head.fields, dict(file.sections)
        try:
            index = cls(header["bits"], header["model"], header["sha256"])
            index._codes = sections.pop("codes")
            check_codes(index.codes, index.bits)
            index._extra = sections.pop("extra").values
            index._ids = Ids.of_file(sections)
            if {len(index), len(index.codes)} != {header["count"]} or index.codes.ndim != 2:
                raise HashIndexError("the numbers of codes and ids differ")
        except (KeyError, ConfigError, HashIndexError) as error:
            raise HashIndexError(
                f"{path} is damaged ({error}); build it again with derefl index"
            ) from error
        index._file = file
        index._head = file.head if file.version == VERSION else None
        return index

    def verify(self) -> None:
        """Read the file that the index was loaded from and compare it with its checksum.

        Of an index that was not loaded there is nothing to compare.

        Raises:
            HashIndexError: the file is damaged.
        """
        if self._file is not None:
            self._file.verify()
