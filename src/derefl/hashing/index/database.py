"""The file of a :class:`~derefl.HashIndex`: an SQLite database with two tables.

``meta`` describes the codes. ``block`` holds the codes, up to :data:`ROWS` per row of the table:

- ``codes``: the bytes of all codes.
- ``ids``: a JSON array, or a blob of little-endian int64 if all ids are 64-bit integers.
- ``stamps``: little-endian int64, two per code: size in bytes and time of change in ns of the
  encoded file. NULL if there are no files.
- ``crc32``: of the three columns, because SQLite has no checksums.
"""

import json
import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from derefl import files
from derefl.errors import ConfigError, DereflError, HashIndexError
from derefl.files import atomic_file
from derefl.hashing.codes import Codes, check_bits
from derefl.hashing.index.ids import Column
from derefl.hashing.index.scan import Rows

APPLICATION_ID = int.from_bytes(b"LCDH", "big")
VERSION = 4
"""Of the file and of its codes. Since 4, a picture's code comes from two views."""

ROWS = 4096
"""Codes per block. An addition to a block rewrites the block; small blocks are slow to read."""

WAIT = 60.0
"""Seconds to wait for another program that writes to the file."""

SETUP = f"""
PRAGMA journal_mode = OFF;
PRAGMA page_size = 16384;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE meta(key TEXT PRIMARY KEY, value);
CREATE TABLE block(number INTEGER PRIMARY KEY, codes BLOB, ids, stamps BLOB, crc32 INTEGER);
BEGIN;
"""
"""For a new file. Other programs only see the finished file, so it needs no journal."""

JOURNAL = "-journal"
"""SQLite's suffix for the name of the journal."""

META = {"bits": int, "model": str, "sha256": str, "extra": str, "count": int}
META |= {"token": str, "version": int}
"""The keys of ``meta`` and the types of their values; they have a crc32, too. ``token`` identifies
the file among files of the same name, ``version`` counts its changes."""

About = dict[str, Any]
Block = tuple[bytes, bytes | str, bytes | None]
"""Codes, ids and stamps in the format of the file."""


class Contents(NamedTuple):
    """The contents of a file.

    Attributes:
        about: the values of :data:`META`.
        codes: uint8 ``[n bits/8]``.
        ids: of each block.
        stamps: int64 ``[n 2]``, −1 where there is no file; None if there are no files.
        bounds: int64 ``[blocks + 1]``, the first row of each block, and the number of rows.
    """

    about: About
    codes: Codes
    ids: list[bytes | str]
    stamps: NDArray[np.int64] | None
    bounds: NDArray[np.int64]


@dataclass
class Saved:
    """The state of an index at its last save, and the changes since.

    Attributes:
        path: absolute; None without a file.
        about: the values of :data:`META`.
        bounds: int64 ``[blocks + 1]``, as in :class:`Contents`.
        stale: numbers of the blocks that have changed.
        touched: ids that were added, replaced or removed.
    """

    path: Path | None = None
    about: About = field(default_factory=dict)
    bounds: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    stale: set[int] = field(default_factory=set)
    touched: list[Column] = field(default_factory=list)

    def changed(self, rows: Rows, ids: Column) -> None:
        """Record changed ids, and the rows of those that are in the file."""
        if self.path is not None:
            self.touched.append(ids)
            rows = rows[rows < self.bounds[-1]]
            self.stale.update((np.searchsorted(self.bounds, rows, "right") - 1).tolist())

    def removed(self, rows: Rows, ids: Column) -> None:
        """Record that rows are removed; the next rows move up."""
        self.changed(rows, ids)
        self.bounds = self.bounds - np.searchsorted(np.unique(rows), self.bounds)

    def layout(self, n: int) -> tuple[list[int], NDArray[np.int64]]:
        """The blocks to write for n rows, and the bounds of all blocks."""
        kept = self.bounds
        if len(kept) > 1 and kept[-1] < n and kept[-1] - kept[-2] < ROWS:
            kept = kept[:-1]  # the last block has room
        bounds = np.array([*kept[:-1], *range(kept[-1], n, ROWS), n], np.int64)
        return sorted(self.stale | set(range(len(kept) - 1, len(bounds) - 1))), bounds


def load(path: Path, verify: bool = False) -> Contents:
    """Read a file; see :meth:`~derefl.HashIndex.load`."""
    with transaction(path, "BEGIN") as database:
        checks = database.execute("PRAGMA quick_check(1)").fetchone() if verify else ("ok",)
        if checks != ("ok",):
            raise read_error(path, checks[0])
        return read_contents(path, database)


def create(path: Path, about: About, blocks: Mapping[int, Block]) -> About:
    """Write a file, atomically; return the values of :data:`META`."""
    about = {**about, "token": secrets.token_hex(8), "version": 0}
    try:
        with atomic_file(path) as file:
            with closing(sqlite3.connect(file.name, isolation_level=None)) as database:
                database.executescript(SETUP)
                write_blocks(database, about, blocks)
                database.execute("COMMIT")
            forget_journal(path)
    except (OSError, ValueError, sqlite3.Error) as error:  # ValueError: a null byte
        raise write_error(path, error) from error
    return about


def replace(finished: Path, path: Path) -> None:
    """Rename a finished file; an existing index of that name is replaced."""
    try:
        forget_journal(path)
        finished.replace(path)
    except OSError as error:
        raise write_error(path, error) from error


def forget_journal(path: Path) -> None:
    """Remove the journal that a crash may have left beside a file that is to be replaced.

    Otherwise SQLite would apply the journal of the old file to the new file.
    """
    Path(f"{path}{JOURNAL}").unlink(missing_ok=True)


@contextmanager
def transaction(path: Path, begin: str) -> Iterator[sqlite3.Connection]:
    """Open a file for one transaction: commit at the end of the block, roll back on an error."""
    if not os.path.isfile(path):  # noqa: PTH113 (Path's raises where a folder may not be read)
        if os.path.lexists(path):
            raise HashIndexError(f"{path} is not a file, expected an index of derefl")
        raise HashIndexError(
            f"{path}: there is no such file; make it with: derefl index PHOTOS -o {path}"
        )
    try:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with closing(
            sqlite3.connect(uri, uri=True, timeout=WAIT, isolation_level=None)
        ) as database:
            database.execute("PRAGMA trusted_schema = OFF")  # the file may be from anybody
            check_format(path, database)
            database.execute(begin)
            yield database
            database.execute("COMMIT")
    except sqlite3.Error as error:
        if begin == "BEGIN" or type(error) is sqlite3.DatabaseError:
            raise read_error(path, error) from error
        raise write_error(path, error) from error


def check_format(path: Path, database: sqlite3.Connection) -> None:
    """Raise HashIndexError unless the file is an index of this version."""
    try:
        application, version = (
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
    except sqlite3.DatabaseError as error:
        if "not a database" not in str(error):
            raise
        application = version = 0
    if application != APPLICATION_ID:
        raise HashIndexError(
            f"{path} is not an index of derefl; name a file of derefl index or HashIndex.save"
        )
    if version != VERSION:
        update = "update with: pip install --upgrade derefl"
        again = f"index the photos again: derefl index PHOTOS -o {path} --overwrite"
        raise HashIndexError(
            f"{path} is an index of another version of derefl (format {version}, this version "
            f"reads {VERSION}); {update if version > VERSION else again}"
        )


def read_contents(path: Path, database: sqlite3.Connection) -> Contents:
    """Read and check all contents in a transaction."""
    about = read_meta(path, database)
    width, count = about["bits"] // 8, about["count"]
    try:
        sizes = database.execute("SELECT count(*), total(length(codes)) FROM block")
        blocks, size = sizes.fetchone()
        if size != width * count:
            raise ValueError(f"got {size:.0f} bytes for {count} codes of {width} bytes")
        codes, bounds = np.empty((count, width), np.uint8), np.zeros(blocks + 1, np.int64)
        ids: list[bytes | str] = []
        stamps = None
        rows = database.execute("SELECT number, codes, ids, stamps, crc32 FROM block ORDER BY 1")
        for number, (expected, *block, checksum) in enumerate(rows):
            if number != expected or checksum != crc32(block):
                raise ValueError(f"block {number} does not match its checksum")
            piece = np.frombuffer(block[0], np.uint8).reshape(-1, width)
            start, end = bounds[number], bounds[number] + len(piece)
            codes[start:end], bounds[number + 1] = piece, end
            ids.append(block[1])
            if block[2] is not None:
                stamps = np.full((count, 2), -1, np.int64) if stamps is None else stamps
                stamps[start:end] = np.frombuffer(block[2], "<i8").reshape(-1, 2)
        return Contents(about, codes, ids, stamps, bounds)
    except (ValueError, TypeError) as error:
        raise read_error(path, error) from error


def read_meta(path: Path, database: sqlite3.Connection) -> About:
    """Read and check the values of :data:`META` in a transaction."""
    try:
        about = dict(database.execute("SELECT key, value FROM meta ORDER BY key"))
        checksum = about.pop("crc32")
        if checksum != crc32([json.dumps(about)]):
            raise ValueError("the table meta does not match its checksum")
        check_bits(about["bits"])
        types = {key: type(value) for key, value in about.items()}
        if types != META or about["count"] < 0 or type(json.loads(about["extra"])) is not dict:
            raise ValueError("the table meta has other values than expected")
        return about
    except (ValueError, TypeError, KeyError, RecursionError, ConfigError) as error:
        raise read_error(path, error) from error


def write_blocks(database: sqlite3.Connection, about: About, blocks: Mapping[int, Block]) -> None:
    """Write blocks by number, and all of :data:`META`, in a transaction."""
    database.executemany(
        "REPLACE INTO block VALUES (?, ?, ?, ?, ?)",
        ((number, *block, crc32(block)) for number, block in blocks.items()),
    )
    about = {key: about[key] for key in sorted(META)}
    rows = {**about, "crc32": crc32([json.dumps(about)])}
    database.executemany("REPLACE INTO meta VALUES (?, ?)", rows.items())


def crc32(parts: Iterable[bytes | str | None]) -> int:
    """The CRC-32 of values of the file."""
    result = 0
    for part in parts:
        result = zlib.crc32(part.encode() if isinstance(part, str) else part or b"", result)
    return result


def read_error(path: Path, error: Exception | str) -> HashIndexError:
    """The error for a file that is damaged, or that another program locks for too long."""
    if "locked" in str(error):
        return HashIndexError(
            f"{path} is in use by another program; try again when that program is done"
        )
    return HashIndexError(
        f"{path} is damaged or cut short ({error}); get it again, or make it again with derefl "
        "index"
    )


def write_error(path: Path, error: Exception) -> DereflError:
    """The error for a file that cannot be written."""
    return (read_error if "locked" in str(error) else files.unwritable)(path, error)
