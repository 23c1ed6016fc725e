"""The index: codes with ids, and exact search."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derefl.errors import HashIndexError
from derefl.hashing.codes import Codes, check_bits, hamming
from derefl.hashing.index import database, encoding, scan
from derefl.hashing.index.base import Hit, Index, Where, require_least
from derefl.hashing.index.encoding import Added, Pictures, Progress, Stamps, no_stamps
from derefl.hashing.index.ids import Column, Id, Ids, as_column, to_file
from derefl.hashing.index.scan import Rows


class HashIndex(Index):
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
        self._ids = Ids()
        self._codes: list[Codes] = [np.empty((0, bits // 8), np.uint8)]  # joined when read
        self._stamps: Stamps | None = None
        self._saved = database.Saved()

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"<HashIndex of {len(self):,} codes of {self.bits} bits, model {self.model!r}>"

    @property
    def codes(self) -> Codes:
        """The codes in the order of insertion, uint8 ``[n bits/8]``; read-only."""
        if len(self._codes) > 1:
            self._codes = [np.concatenate(self._codes)]
        self._codes[0].flags.writeable = False
        return self._codes[0]

    @property
    def ids(self) -> list[Id]:
        """The ids in the order of insertion."""
        return self._ids.column().tolist()

    @property
    def integer_ids(self) -> NDArray[np.int64] | None:
        """The ids in the order of insertion as one array, if all are integers of 64 bits."""
        column = self._ids.column()
        return column if column.dtype == np.int64 else None

    @property
    def stamps(self) -> Stamps:
        """Size in bytes and time of change in ns of the encoded files, int64 ``[n 2]``; −1 where
        :meth:`upsert` got no stamps.
        """
        return no_stamps(len(self)) if self._stamps is None else self._stamps

    def upsert(self, codes: Codes, ids: Iterable[Any], stamps: Stamps | None = None) -> None:
        """Add codes, and replace the codes of known ids. Replaced codes keep their places.

        Args:
            codes, ids: as in :meth:`add`, but the index may already have the ids.
            stamps: of the encoded files, see :attr:`stamps`; None: no files.

        Raises:
            HashIndexError: as in :meth:`add`.
        """
        self._upsert(*self._checked(codes, ids), stamps)

    def _upsert(self, codes: Codes, new: Column, stamps: Stamps | None = None) -> None:
        if stamps is None and self._stamps is not None:
            stamps = no_stamps(len(new))
        if stamps is not None and np.shape(stamps) != (len(new), 2):
            raise HashIndexError(
                f"got stamps of shape {list(np.shape(stamps))}, expected [{len(new)}, 2]: size and "
                "time of change of each file"
            )
        rows = self._ids.rows(new)
        known = rows >= 0
        if known.any():
            self._saved.changed(rows[known], new[known])
            replaced = self.codes.copy()
            replaced[rows[known]] = codes[known]
            self._codes = [replaced]
            if stamps is not None:
                self._stamps = self.stamps.copy()
                self._stamps[rows[known]] = stamps[known]
        self._append(codes[~known], new[~known], None if stamps is None else stamps[~known])

    def _remove(self, gone: Column) -> None:
        rows = self._ids.rows(gone)
        if len(unknown := np.flatnonzero(rows < 0)):
            raise self._unknown_error(gone.item(unknown[0]))
        if not len(rows):
            return
        keep = np.ones(len(self), np.bool_)
        keep[rows] = False
        self._saved.removed(rows, gone)
        self._codes = [self.codes[keep]]
        self._stamps = None if self._stamps is None else self._stamps[keep]
        self._ids.keep(keep)

    def _add(self, codes: Codes, new: Column) -> None:
        if len(known := np.flatnonzero(self._ids.rows(new) >= 0)):
            raise self._known_error(new.item(known[0]))
        self._append(codes, new, None if self._stamps is None else no_stamps(len(new)))

    def _append(self, codes: Codes, new: Column, stamps: Stamps | None) -> None:
        if not len(new):
            return
        if stamps is not None:
            self._stamps = np.concatenate([self.stamps, stamps])
        self._codes = [*(self._codes if len(self) else []), codes.copy()]
        self._ids.append(new)
        self._saved.changed(np.empty(0, np.intp), new)

    def add_pictures(
        self,
        pictures: Pictures,
        *,
        exclude: str | Sequence[str] = (),
        save_to: str | Path | None = None,
        progress: Progress = False,
    ) -> Added:
        """Encode picture files with :attr:`hasher`; files that have not changed are skipped.

        Args:
            pictures: files, folders and patterns, and the paths become ids; or id to file.
                ``derefl search`` reads a relative path from the folder of the index file.
            exclude: patterns to skip, as in :func:`~derefl.imaging.folders.find_pictures`.
            save_to: save the index to this file at once and after each batch. After an
                interruption, load the file and repeat the call.
            progress: show a bar on stderr; or a function that gets the numbers of finished and of
                all new and changed pictures.

        Raises:
            ImageError: a file does not exist, or a folder has no pictures. A picture that cannot be
                read is in ``failures`` of the result.
            HashIndexError: see :attr:`hasher`.
        """
        return encoding.add_pictures(self, pictures, exclude, save_to, progress)

    def duplicates(self, radius: int | None = None) -> list[list[Hit]]:
        """Groups of nearly equal codes.

        Two codes are in one group if they differ in at most ``radius`` bits (by default
        2 for codes of 64 bits, 4 for 128), or if a chain of such steps connects them. All pairs of
        codes are compared.

        Returns:
            The groups of at least two codes, each in the order of insertion; ``distance`` is the
            number of bits that differ from the first code of the group.

        Raises:
            HashIndexError: a radius below 0.
        """
        radius = scan.duplicate_radius(self.bits) if radius is None else radius
        require_least(0, radius=radius)
        groups = scan.groups(self.codes, radius)
        distances = [hamming(self.codes[rows[:1]], self.codes[rows])[0] for rows in groups]
        return self._hits(list(zip(groups, distances, strict=True)))

    def _has(self, id: Id) -> bool:
        return bool(self._ids.rows(as_column([id]))[0] >= 0)

    def _search(self, queries: Codes, k: int, chosen: Rows | None) -> list[list[Hit]]:
        return self._hits(scan.nearest(self.codes, queries, k, chosen))

    def _within(self, queries: Codes, radius: int, chosen: Rows | None) -> list[list[Hit]]:
        return self._hits(scan.within(self.codes, queries, radius, chosen))

    def _chosen(self, where: Where) -> Rows:
        """The rows that pass a filter."""
        if isinstance(where, Iterable) and not callable(where):
            rows = np.unique(self._ids.rows(as_column(where)))
            return rows[rows >= 0]
        allows = where if callable(where) else where.__contains__
        return np.flatnonzero(np.fromiter(map(allows, self.ids), np.bool_, len(self)))

    def _hits(self, found: list[scan.Found]) -> list[list[Hit]]:
        make = partial(tuple.__new__, Hit)  # Hit(...) takes a tenth of a search among a million
        return [
            list(map(make, zip(self._ids.take(rows), distances.tolist(), strict=True)))
            for rows, distances in found
        ]

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
        if path.absolute() == self._saved.path and path.exists() and self._update(path):
            return
        blocks, bounds = self._blocks(database.Saved())
        about = database.create(path, self._meta(), blocks)
        self._saved = database.Saved(path.absolute(), about, bounds)

    def _update(self, path: Path) -> bool:
        """Write the changes; False if another file now has this name."""
        with database.transaction(path, "BEGIN IMMEDIATE") as connection:
            there = database.read_meta(path, connection)
            if there["token"] != self._saved.about["token"]:
                return False
            if there["version"] != self._saved.about["version"]:
                self._merge(database.read_contents(path, connection))
            blocks, bounds = self._blocks(self._saved)
            about = {**self._saved.about, **self._meta()}
            if blocks or about != self._saved.about:
                about["version"] += 1
                database.write_blocks(connection, about, blocks)
        self._saved = database.Saved(path.absolute(), about, bounds)
        return True

    def _merge(self, theirs: database.Contents) -> None:
        """Apply the changes of this index to the contents that another program saved."""
        merged = HashIndex._of(self._saved.path, theirs)
        touched = [id for ids in self._saved.touched for id in ids.tolist()]
        ids = as_column(dict.fromkeys(touched))
        rows = self._ids.rows(ids)
        merged.remove(ids[(rows < 0) & (merged._ids.rows(ids) >= 0)])
        ids, rows = ids[rows >= 0], rows[rows >= 0]
        stamps = None if self._stamps is None else self._stamps[rows]
        merged.upsert(self.codes[rows], ids, stamps)
        merged.model, merged.sha256, merged._hasher = self.model, self.sha256, self._hasher
        if self._meta()["extra"] != self._saved.about["extra"]:
            merged.extra = self.extra
        self.__dict__ = merged.__dict__

    def _meta(self) -> database.About:
        about = {"bits": self.bits, "model": self.model, "sha256": self.sha256}
        return {**about, "extra": json.dumps(self.extra), "count": len(self)}

    def _blocks(self, saved: database.Saved) -> tuple[dict[int, database.Block], Stamps]:
        """The changed and new blocks by number, and the bounds of all blocks."""
        numbers, bounds = saved.layout(len(self))
        ids = self._ids.column() if numbers else np.empty(0)
        blocks: dict[int, database.Block] = {}
        for n in numbers:
            rows = slice(*bounds[n : n + 2])
            stamps = None if self._stamps is None else self._stamps[rows].astype("<i8").tobytes()
            blocks[n] = self.codes[rows].tobytes(), to_file(ids[rows]), stamps
        return blocks, bounds

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
        index.place = str(path)
        index._codes, index._stamps = [contents.codes], contents.stamps
        index._ids = Ids(contents.ids, contents.bounds)
        index._saved = database.Saved(path, about, contents.bounds)
        return index
