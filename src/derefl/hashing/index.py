"""The index: codes and their ids, and the exact search among them."""

import json
from collections.abc import Callable, Container, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from derefl.errors import HashIndexError
from derefl.hashing import index_file, scan
from derefl.hashing.codes import Codes, check_bits, check_codes
from derefl.hashing.ids import Column, Id, Rows, StoredIds, as_column, plain_id, rises, to_file

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

    In memory the index takes the codes, and 8 bytes an integer id or the length of a string id +
    some 60 bytes. Looking ids up (``in``, ``upsert``, ``remove``, ``where`` with a list or set,
    ``add``) takes a dictionary of some hundred bytes an id, unless all ids are integers that rise.

    Args:
        bits: length of the codes, one of :data:`~derefl.hashing.codes.BITS`.
        model: name of the model that makes the codes, for ``load_lcdh_student``.
        sha256: of its checkpoint; "" if that is not to be checked.

    Attributes:
        extra: any JSON values for the file to keep.

    Raises:
        ConfigError: there are no codes of this length.
    """

    def __init__(self, bits: int = 64, model: str = "", sha256: str = "") -> None:
        check_bits(bits)
        self.bits, self.model, self.sha256 = bits, model, sha256
        self.extra: dict[str, Any] = {}
        self._length = 0
        self._codes: list[NDArray] = [np.empty((0, bits // 8), np.uint8)]  # see joined
        self._ids: list[NDArray] = [np.empty(0, np.int64)]
        self._stored: StoredIds | None = None  # takes the place of _ids until all are needed
        self._rising = True  # as rises() of all ids
        self._known: dict[Id, int] | None = None  # from id to row
        self._stamps: NDArray[np.int64] | None = None
        # The file that the index came from, and how the index differs from it.
        self._path: Path | None = None
        self._about: index_file.About = {}
        self._bounds = np.zeros(1, np.int64)  # the first row of each block of the file
        self._stale: set[int] = set()  # blocks that have changed
        self._touched: list[Column] = []  # ids that were added, replaced or removed

    # what is in it

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
        """Size in bytes and time of change in ns of the files that were encoded, int64 ``[n 2]``;
        −1 where :meth:`upsert` got none."""
        return no_stamps(len(self)) if self._stamps is None else self._stamps

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
        """Add codes, and replace the codes of ids that are there, which keep their places.

        Args and raises: as :meth:`add`, but ids may be there.
            stamps: of the files that were encoded, see :attr:`stamps`; None means no files.
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
            HashIndexError: one is not there; nothing is removed then.
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
        """Remember changes of the file: the ids, and the blocks that have these rows of it."""
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
        """Whether all ids and then the new ones are integers that rise: none can be there twice."""
        if self._stored is not None:
            self._column()
        rising = self._rising and rises(new)
        return rising and (len(self) == 0 or len(new) == 0 or self._ids[-1][-1] < new[0])

    def _rows(self, ids: Column) -> Rows:
        """The row of each id, −1 if the id is not there."""
        if len(self) == 0 or self._go_on(ids):
            return np.full(len(ids), -1, np.intp)
        if self._known is None and self._rising and ids.dtype == np.int64:
            column = self._column()
            rows = np.minimum(np.searchsorted(column, ids), len(self) - 1)
            return np.where(column[rows] == ids, rows, -1)
        if self._known is None:
            self._known = dict(zip(self.ids, range(len(self)), strict=True))
        return np.array([self._known.get(id, -1) for id in ids.tolist()], np.intp)

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
        return self._hits(scan.nearest(self.codes, queries, k, self._chosen(where)))

    def within(self, codes: Codes, radius: int, where: Where | None = None) -> list[list[Hit]]:
        """All codes that differ from a query in at most ``radius`` bits.

        Args, order and raises: as :meth:`search`; a radius below 0 is refused.
        """
        if radius < 0:
            raise HashIndexError(f"got radius={radius}, expected at least 0")
        queries = check_codes(codes, self.bits, "query codes")
        return self._hits(scan.within(self.codes, queries, radius, self._chosen(where)))

    def _chosen(self, where: Where | None) -> Rows | None:
        """The rows that a filter leaves."""
        if where is None:
            return None
        if isinstance(where, Iterable) and not callable(where):
            rows = np.unique(self._rows(as_column(where)))
            return rows[rows >= 0]
        allows = where if callable(where) else where.__contains__
        return np.flatnonzero(np.fromiter(map(allows, self.ids), np.bool_, len(self)))

    def _hits(self, found: list[scan.Found]) -> list[list[Hit]]:
        make = partial(tuple.__new__, Hit)  # Hit itself takes a tenth of a search among a million
        return [
            list(map(make, zip(self._take(rows), distances.tolist(), strict=True)))
            for rows, distances in found
        ]

    def _take(self, rows: Rows) -> list[Id]:
        stored = self._stored
        return stored.take(rows) if stored is not None else joined(self._ids)[rows].tolist()

    # files

    def save(self, path: str | Path) -> None:
        """Write the index to a file, whole or not at all.

        To the file that it was loaded from or last saved to, only the changes are written. If
        another program has changed that file meanwhile, both changes count; of two changes of one
        id, the later ``save``. Another file that is there is replaced.

        Raises:
            OutputError: the file cannot be written; it has what it had before.
            HashIndexError: the file to be changed is damaged or in use.
        """
        path = Path(path)
        if path.absolute() != self._path or not path.exists() or not self._save_changes(path):
            self._bounds, self._stale = np.zeros(1, np.int64), set()
            blocks, bounds = self._blocks()
            self._about = index_file.create(path, self._meta(), blocks)
            self._path, self._bounds = path.absolute(), bounds
        self._stale, self._touched = set(), []

    def _save_changes(self, path: Path) -> bool:
        """Bring the file up to date; False if by now it is another one of the same name."""
        with index_file.transaction(path, "BEGIN IMMEDIATE") as database:
            there = index_file.read_meta(path, database)
            if there["token"] != self._about["token"]:
                return False
            if there["version"] != self._about["version"]:
                self._merge(index_file.read(path, database))
            blocks, bounds = self._blocks()
            about = {**self._about, **self._meta()}
            if blocks or about != self._about:
                about["version"] += 1
                index_file.write(database, about, blocks)
        self._about, self._bounds = about, bounds
        return True

    def _merge(self, theirs: index_file.Contents) -> None:
        """Repeat the changes of this index on what another program has saved."""
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

    def _meta(self) -> index_file.About:
        about = {"bits": self.bits, "model": self.model, "sha256": self.sha256}
        return {**about, "extra": json.dumps(self.extra), "count": len(self)}

    def _blocks(self) -> tuple[dict[int, index_file.Block], NDArray[np.int64]]:
        """The blocks that the file does not have by number, and the bounds of all blocks."""
        n, kept = len(self), self._bounds
        if len(kept) > 1 and kept[-1] < n and kept[-1] - kept[-2] < index_file.ROWS:
            kept = kept[:-1]  # the last block has room
        bounds = np.array([*kept[:-1], *range(kept[-1], n, index_file.ROWS), n], np.int64)
        changed = sorted(self._stale | set(range(len(kept) - 1, len(bounds) - 1)))
        return {k: self._block(bounds[k], bounds[k + 1]) for k in changed}, bounds

    def _block(self, start: int, end: int) -> index_file.Block:
        stamps = None if self._stamps is None else self._stamps[start:end].astype("<i8").tobytes()
        return self.codes[start:end].tobytes(), to_file(self._column()[start:end]), stamps

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = False) -> "HashIndex":
        """Read an index file; later changes of the file by others do not matter.

        Args:
            path: what :meth:`save` or ``derefl index`` wrote.
            verify: also check the structure of the parts of the file that are not read. Checksums
                of all that is read are compared in any case.

        Raises:
            HashIndexError: no such file, of another kind or version, damaged or cut short.
        """
        return cls._of(Path(path).absolute(), index_file.load(Path(path), verify))

    @classmethod
    def _of(cls, path: Path | None, contents: index_file.Contents) -> "HashIndex":
        about = contents.about
        index = cls(about["bits"], about["model"], about["sha256"])
        index.extra = json.loads(about["extra"])
        index._length, index._codes = about["count"], [contents.codes]
        index._stored = StoredIds(contents.ids, contents.bounds)
        index._stamps, index._bounds = contents.stamps, contents.bounds
        index._path, index._about = path, about
        return index


def joined(pieces: list[NDArray]) -> NDArray:
    """One read-only array of some arrays, which it replaces in the list.

    Arrays are joined when they are read, so that adding in many small steps takes no copies.
    """
    if len(pieces) > 1:
        pieces[:] = [np.concatenate(pieces)]
    pieces[0].flags.writeable = False
    return pieces[0]


def no_stamps(n: int) -> NDArray[np.int64]:
    """The stamps of codes without files."""
    return np.full((n, 2), -1, np.int64)
