"""The index: codes with ids, and exact search."""

import json
from collections.abc import Callable, Container, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from derefl.errors import HashIndexError
from derefl.hashing.codes import Codes, check_bits, check_codes
from derefl.hashing.index import database, scan
from derefl.hashing.index.ids import (
    Column,
    Id,
    Rows,
    StoredIds,
    as_column,
    plain_id,
    rises,
    to_file,
)

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


class HashIndex:
    """Codes of one length, each with an id, and exact search by Hamming distance.

    Hits are sorted by distance, and at equal distance by the order of insertion. Several threads
    may search at once, but not while another thread changes the index.

    In memory, the index needs the codes plus 8 bytes per integer id, or the length of a string id
    plus some 60 bytes. An id lookup (``in``, ``upsert``, ``remove``, ``where`` with a list or set,
    ``add``) builds a dictionary of some hundred bytes per id, unless all ids are rising integers.

    Args:
        bits: length of the codes, one of :data:`~derefl.hashing.codes.BITS`.
        model: name of the model of the codes, for ``load_lcdh_student``.
        sha256: of the model's checkpoint; "" turns the check off.

    Attributes:
        extra: JSON values that are stored in the file.

    Raises:
        ConfigError: there are no codes of this length.
    """

    def __init__(self, bits: int = 64, model: str = "", sha256: str = "") -> None:
        check_bits(bits)
        self.bits, self.model, self.sha256 = bits, model, sha256
        self.extra: dict[str, Any] = {}
        self._length = 0
        self._codes: list[NDArray] = [np.empty((0, bits // 8), np.uint8)]  # see joined()
        self._ids: list[NDArray] = [np.empty(0, np.int64)]
        self._stored: StoredIds | None = None  # replaces _ids until all ids are needed
        self._rising = True  # rises() of all ids
        self._known: dict[Id, int] | None = None  # id to row
        self._stamps: NDArray[np.int64] | None = None
        # The file of the index, and the unsaved changes.
        self._path: Path | None = None
        self._about: database.About = {}
        self._bounds = np.zeros(1, np.int64)  # the first row of each block of the file
        self._stale: set[int] = set()  # blocks that have changed
        self._touched: list[Column] = []  # ids that were added, replaced or removed

    # contents

    def __len__(self) -> int:
        return self._length

    def __contains__(self, id: Any) -> bool:
        try:
            return bool(self._rows(as_column([plain_id(id)]))[0] >= 0)
        except HashIndexError:
            return False

    def __repr__(self) -> str:
        return f"<HashIndex of {len(self):,} codes of {self.bits} bits, model {self.model!r}>"

    @property
    def codes(self) -> Codes:
        """The codes in the order of insertion, uint8 ``[n bits/8]``; read-only."""
        return joined(self._codes)

    @property
    def ids(self) -> list[Id]:
        """The ids in the order of insertion."""
        return self._column().tolist()

    @property
    def integer_ids(self) -> NDArray[np.int64] | None:
        """The ids in the order of insertion as one array, if all are integers of 64 bits."""
        column = self._column()
        return column if column.dtype == np.int64 else None

    @property
    def stamps(self) -> NDArray[np.int64]:
        """Size in bytes and time of change in ns of the encoded files, int64 ``[n 2]``; −1 where
        :meth:`upsert` got no stamps.
        """
        return no_stamps(len(self)) if self._stamps is None else self._stamps

    def require(self, hasher: Coder) -> None:
        """Refuse a hasher that does not fit the codes in the index.

        Raises:
            HashIndexError: another code length, or other weights.
        """
        if hasher.bits != self.bits:
            raise HashIndexError(
                f"the index has codes of {self.bits} bits, got a hasher of {hasher.bits}; load it "
                f"with load_lcdh_student({self.model or 'lcdh-student'!r}, bits={self.bits}), or "
                "build the index again"
            )
        if self.sha256 and hasher.sha256 != self.sha256:
            raise HashIndexError(
                f"the index has codes of the model {self.model!r} (sha256 {self.sha256[:12]}…), "
                f"got {hasher.name!r} (sha256 {hasher.sha256[:12] or 'unknown'}…), whose codes do "
                "not compare with them; search with the model of the index, or build the index "
                "again with this one"
            )

    # changes

    def add(self, codes: Codes, ids: Iterable[Any]) -> None:
        """Add codes at the end.

        Args:
            codes: uint8 ``[n bits/8]``, or one code ``[bits/8]``.
            ids: n integers or strings, all different and new to the index; a path becomes a string.

        Raises:
            HashIndexError: wrong codes or ids; the index is unchanged.
        """
        codes, new = self._checked(codes, ids)
        known = np.flatnonzero(self._rows(new) >= 0)
        if len(known):
            raise HashIndexError(
                f"the id {new.item(known[0])!r} is in the index already; use upsert to replace its "
                "code, or give it another id"
            )
        self._append(codes, new, None)

    def upsert(
        self, codes: Codes, ids: Iterable[Any], stamps: NDArray[np.int64] | None = None
    ) -> None:
        """Add codes, and replace the codes of known ids. Replaced codes keep their places.

        Args:
            codes, ids: as in :meth:`add`, but the index may already have the ids.
            stamps: of the encoded files, see :attr:`stamps`; None: no files.

        Raises:
            HashIndexError: as in :meth:`add`.
        """
        codes, new = self._checked(codes, ids)
        if stamps is not None and np.shape(stamps) != (len(new), 2):
            raise HashIndexError(
                f"got stamps of shape {list(np.shape(stamps))}, expected [{len(new)}, 2]: size and "
                "time of change of each file"
            )
        rows = self._rows(new)
        known = rows >= 0
        if known.any():
            self._mark(rows[known], new[known])
            self._replace(rows[known], codes[known], None if stamps is None else stamps[known])
        self._append(codes[~known], new[~known], None if stamps is None else stamps[~known])

    def remove(self, ids: Iterable[Any]) -> None:
        """Remove ids and their codes.

        Raises:
            HashIndexError: an id is not in the index; the index is unchanged.
        """
        gone = as_column(ids)
        rows = self._rows(gone)
        strangers = np.flatnonzero(rows < 0)
        if len(strangers):
            id = gone.item(strangers[0])
            raise HashIndexError(
                f"the id {id!r} is not in the index, expected one of its {len(self)} ids; ask "
                f"first: {id!r} in index"
            )
        if len(rows) == 0:
            return
        keep = np.ones(len(self), np.bool_)
        keep[rows] = False
        self._mark(rows, gone)
        self._bounds = self._bounds - np.searchsorted(np.unique(rows), self._bounds)
        self._codes, self._ids = [self.codes[keep]], [self._column()[keep]]
        self._stamps = None if self._stamps is None else self._stamps[keep]
        self._length, self._known = int(keep.sum()), None

    def _checked(self, codes: Codes, ids: Iterable[Any]) -> tuple[Codes, Column]:
        codes, new = check_codes(codes, self.bits), as_column(ids)
        if len(codes) != len(new):
            raise HashIndexError(
                f"got {len(codes)} codes and {len(new)} ids, expected one id a code"
            )
        if not rises(new) and len(set(new.tolist())) < len(new):
            raise HashIndexError("an id is given twice, expected each once; leave one out")
        return codes, new

    def _append(self, codes: Codes, new: Column, stamps: NDArray[np.int64] | None) -> None:
        if len(new) == 0:
            return
        self._rising = self._go_on(new)
        if self._known is not None:
            self._known.update(
                zip(new.tolist(), range(len(self), len(self) + len(new)), strict=True)
            )
        if stamps is not None or self._stamps is not None:
            stamps = no_stamps(len(new)) if stamps is None else stamps
            self._stamps = np.concatenate([self.stamps, stamps])
        if len(self) == 0:
            self._codes, self._ids = [], []
        self._codes.append(codes.copy())
        self._ids.append(new)
        self._mark(np.empty(0, np.intp), new)
        self._length += len(new)

    def _replace(self, rows: Rows, codes: Codes, stamps: NDArray[np.int64] | None) -> None:
        changed = self.codes.copy()
        changed[rows] = codes
        self._codes = [changed]
        if stamps is not None or self._stamps is not None:
            self._stamps = self.stamps.copy()
            self._stamps[rows] = -1 if stamps is None else stamps

    def _mark(self, rows: Rows, ids: Column) -> None:
        """Record unsaved changes: the ids, and the blocks of the file with these rows."""
        if self._path is not None:
            self._touched.append(ids)
            rows = rows[rows < self._bounds[-1]]
            self._stale.update((np.searchsorted(self._bounds, rows, "right") - 1).tolist())

    def _column(self) -> Column:
        """All ids."""
        if self._stored is not None:
            self._ids, self._stored = [self._stored.all()], None
            self._rising = rises(self._ids[0])
        return joined(self._ids)

    def _go_on(self, new: Column) -> bool:
        """Whether all ids and the new ids are rising integers, and therefore all different."""
        if self._stored is not None:
            self._column()
        rising = self._rising and rises(new)
        return rising and (len(self) == 0 or len(new) == 0 or self._ids[-1][-1] < new[0])

    def _rows(self, ids: Column) -> Rows:
        """The row of each id, −1 if the id is not in the index."""
        if len(self) == 0 or self._go_on(ids):
            return np.full(len(ids), -1, np.intp)
        if self._known is None and self._rising and ids.dtype == np.int64:
            column = self._column()
            rows = np.minimum(np.searchsorted(column, ids), len(self) - 1)
            return np.where(column[rows] == ids, rows, -1)
        if self._known is None:
            self._known = dict(zip(self.ids, range(len(self)), strict=True))
        return np.array([self._known.get(id, -1) for id in ids.tolist()], np.intp)

    # search

    def search(self, codes: Codes, k: int = 10, where: Where | None = None) -> list[list[Hit]]:
        """The k nearest codes of each query.

        Args:
            codes: queries, uint8 ``[q bits/8]``, or one ``[bits/8]``.
            k: maximum number of hits per query.
            where: search only these ids, or only ids for which this function is true. A function
                or a container without iteration is asked about every id, which takes a second
                for some million ids.

        Returns:
            A list of hits for each query, nearest first, and in the order of insertion at equal
            distance.

        Raises:
            HashIndexError: queries of another length, or k below 1.
        """
        if k < 1:
            raise HashIndexError(f"got k={k}, expected at least 1")
        queries = check_codes(codes, self.bits, "query codes")
        return self._hits(scan.nearest(self.codes, queries, k, self._chosen(where)))

    def within(self, codes: Codes, radius: int, where: Where | None = None) -> list[list[Hit]]:
        """All codes that differ from a query in at most ``radius`` bits.

        Arguments, order and errors are as in :meth:`search`; a radius below 0 is an error.
        """
        if radius < 0:
            raise HashIndexError(f"got radius={radius}, expected at least 0")
        queries = check_codes(codes, self.bits, "query codes")
        return self._hits(scan.within(self.codes, queries, radius, self._chosen(where)))

    def _chosen(self, where: Where | None) -> Rows | None:
        """The rows that pass a filter."""
        if where is None:
            return None
        if isinstance(where, Iterable) and not callable(where):
            rows = np.unique(self._rows(as_column(where)))
            return rows[rows >= 0]
        allows = where if callable(where) else where.__contains__
        return np.flatnonzero(np.fromiter(map(allows, self.ids), np.bool_, len(self)))

    def _hits(self, found: list[scan.Found]) -> list[list[Hit]]:
        make = partial(tuple.__new__, Hit)  # Hit(...) takes a tenth of a search among a million
        return [
            list(map(make, zip(self._take(rows), distances.tolist(), strict=True)))
            for rows, distances in found
        ]

    def _take(self, rows: Rows) -> list[Id]:
        stored = self._stored
        return stored.take(rows) if stored is not None else joined(self._ids)[rows].tolist()

    # files

    def save(self, path: str | Path) -> None:
        """Write the index to a file, atomically.

        If the index was loaded from this file or last saved to it, only the changes are written.
        Changes that another program made in the meantime are kept; if both changed the same id, the
        later ``save`` wins. Any other existing file is replaced.

        Raises:
            OutputError: the file cannot be written; its old content stays.
            HashIndexError: the file to update is damaged or in use.
        """
        path = Path(path)
        if path.absolute() != self._path or not path.exists() or not self._save_changes(path):
            self._bounds, self._stale = np.zeros(1, np.int64), set()
            blocks, bounds = self._blocks()
            self._about = database.create(path, self._meta(), blocks)
            self._path, self._bounds = path.absolute(), bounds
        self._stale, self._touched = set(), []

    def _save_changes(self, path: Path) -> bool:
        """Update the file; False if another file now has this name."""
        with database.transaction(path, "BEGIN IMMEDIATE") as connection:
            there = database.read_meta(path, connection)
            if there["token"] != self._about["token"]:
                return False
            if there["version"] != self._about["version"]:
                self._merge(database.read(path, connection))
            blocks, bounds = self._blocks()
            about = {**self._about, **self._meta()}
            if blocks or about != self._about:
                about["version"] += 1
                database.write(connection, about, blocks)
        self._about, self._bounds = about, bounds
        return True

    def _merge(self, theirs: database.Contents) -> None:
        """Apply the changes of this index to the contents that another program saved."""
        merged = HashIndex._of(self._path, theirs)
        ids = as_column(dict.fromkeys(id for ids in self._touched for id in ids.tolist()))
        rows = self._rows(ids)
        merged.remove(ids[(rows < 0) & (merged._rows(ids) >= 0)])
        ids, rows = ids[rows >= 0], rows[rows >= 0]
        stamps = None if self._stamps is None else self._stamps[rows]
        merged.upsert(self.codes[rows], ids, stamps)
        merged.model, merged.sha256 = self.model, self.sha256
        if self._meta()["extra"] != self._about["extra"]:
            merged.extra = self.extra
        self.__dict__ = merged.__dict__

    def _meta(self) -> database.About:
        about = {"bits": self.bits, "model": self.model, "sha256": self.sha256}
        return {**about, "extra": json.dumps(self.extra), "count": len(self)}

    def _blocks(self) -> tuple[dict[int, database.Block], NDArray[np.int64]]:
        """The changed and new blocks by number, and the bounds of all blocks."""
        n, kept = len(self), self._bounds
        if len(kept) > 1 and kept[-1] < n and kept[-1] - kept[-2] < database.ROWS:
            kept = kept[:-1]  # the last block has room
        bounds = np.array([*kept[:-1], *range(kept[-1], n, database.ROWS), n], np.int64)
        changed = sorted(self._stale | set(range(len(kept) - 1, len(bounds) - 1)))
        return {k: self._block(bounds[k], bounds[k + 1]) for k in changed}, bounds

    def _block(self, start: int, end: int) -> database.Block:
        stamps = None if self._stamps is None else self._stamps[start:end].astype("<i8").tobytes()
        return self.codes[start:end].tobytes(), to_file(self._column()[start:end]), stamps

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = False) -> "HashIndex":
        """Read an index file. Later changes of the file do not affect the index.

        Args:
            path: a file of :meth:`save` or ``derefl index``.
            verify: also check the structure of the unread parts of the file. The checksums of all
                data that is read are always checked.

        Raises:
            HashIndexError: no such file, another kind or version, damaged or cut short.
        """
        return cls._of(Path(path).absolute(), database.load(Path(path), verify))

    @classmethod
    def _of(cls, path: Path | None, contents: database.Contents) -> "HashIndex":
        about = contents.about
        index = cls(about["bits"], about["model"], about["sha256"])
        index.extra = json.loads(about["extra"])
        index._length, index._codes = about["count"], [contents.codes]
        index._stored = StoredIds(contents.ids, contents.bounds)
        index._stamps, index._bounds = contents.stamps, contents.bounds
        index._path, index._about = path, about
        return index


def joined(pieces: list[NDArray]) -> NDArray:
    """Join arrays into one read-only array, which replaces them in the list.

    Arrays are joined when they are read, so that many small additions need no copies.
    """
    if len(pieces) > 1:
        pieces[:] = [np.concatenate(pieces)]
    pieces[0].flags.writeable = False
    return pieces[0]


def no_stamps(n: int) -> NDArray[np.int64]:
    """The stamps of codes without files."""
    return np.full((n, 2), -1, np.int64)
