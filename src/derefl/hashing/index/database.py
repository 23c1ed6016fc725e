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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derefl import files
from derefl.errors import ConfigError, DereflError, HashIndexError, OutputError
from derefl.files import atomic_file
from derefl.hashing.codes import Codes, check_bits

APPLICATION_ID = int.from_bytes(b"LCDH", "big")
VERSION = 3

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

LONGEST_NAME = 255 - len(JOURNAL)

META = {"bits": int, "model": str, "sha256": str, "extra": str, "count": int}
META |= {"token": str, "version": int}
"""The keys of ``meta`` and the types of their values; they have a crc32, too. ``token`` identifies
the file among files of the same name, ``version`` counts its changes."""

About = dict[str, Any]
Block = tuple[bytes, bytes | str, bytes | None]
"""Codes, ids and stamps in the format of the file."""


@dataclass(frozen=True)
class Contents:
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


def load(path: Path, verify: bool = False) -> Contents:
    """Read a file.

    Args:
        path: a file of :func:`create`.
        verify: also check the structure of the unread parts, which takes longer.

    Raises:
        HashIndexError: no such file, another kind or version, damaged or cut short.
    """
    with transaction(path, "BEGIN") as database:
        checks = database.execute("PRAGMA quick_check(1)").fetchone() if verify else ("ok",)
        if checks != ("ok",):
            raise damaged(path, checks[0])
        return read(path, database)


def create(path: Path, about: About, blocks: Mapping[int, Block]) -> About:
    """Write a file, atomically; an existing file is replaced.

    Returns:
        The values of :data:`META`.

    Raises:
        OutputError: the file cannot be written, for example because the disk is full.
    """
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise OutputError(
            f"{path} cannot be written: the name is longer than {LONGEST_NAME} bytes; choose a "
            "shorter one"
        )
    about = {**about, "token": secrets.token_hex(8), "version": 0}
    try:
        with atomic_file(path) as file:
            with closing(sqlite3.connect(file.name, isolation_level=None)) as database:
                database.executescript(SETUP)
                write(database, about, blocks)
                database.execute("COMMIT")
            forget_journal(path)
    except (OSError, ValueError, sqlite3.Error) as error:  # ValueError: a null byte
        raise unwritable(path, error) from error
    return about


def replace(finished: Path, path: Path) -> None:
    """Rename a finished file; an existing index of that name is replaced.

    Raises:
        OutputError: the file cannot be renamed.
    """
    try:
        forget_journal(path)
        finished.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


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
            require_index(path, database)
            database.execute(begin)
            yield database
            database.execute("COMMIT")
    except sqlite3.Error as error:
        if begin == "BEGIN" or type(error) is sqlite3.DatabaseError:
            raise unreadable(path, error) from error
        raise unwritable(path, error) from error


def require_index(path: Path, database: sqlite3.Connection) -> None:
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
        with path.open("rb") as file:
            if file.read(5) == b"\x89LCDH":
                application, version = APPLICATION_ID, 2
    if application != APPLICATION_ID:
        raise HashIndexError(
            f"{path} is no index of derefl; name a file that derefl index or HashIndex.save wrote"
        )
    if version < VERSION:
        raise HashIndexError(
            f"{path} is an index of an older version of derefl, which this one does not read; "
            f"make it again with: derefl index PHOTOS -o {path} --overwrite"
        )
    if version > VERSION:
        raise HashIndexError(
            f"{path} is an index of a newer version of derefl (format {version}, this one reads "
            f"{VERSION}); update with: pip install --upgrade derefl"
        )


def read(path: Path, database: sqlite3.Connection) -> Contents:
    """Read and check all contents in a transaction.

    Raises:
        HashIndexError: the contents are damaged.
    """
    about = read_meta(path, database)
    width, count = about["bits"] // 8, about["count"]
    try:
        sizes = database.execute("SELECT count(*), total(length(codes)) FROM block")
        blocks, size = sizes.fetchone()
        if size != width * count:
            raise ValueError(f"{count} codes of {width} bytes in {size:.0f} bytes")
        codes, bounds = np.empty((count, width), np.uint8), np.zeros(blocks + 1, np.int64)
        ids, stamps = [], []
        rows = database.execute("SELECT number, codes, ids, stamps, crc32 FROM block ORDER BY 1")
        for number, (expected, *block, checksum) in enumerate(rows):
            if number != expected or checksum != crc32(block):
                raise ValueError(f"block {number} does not match its checksum")
            piece = np.frombuffer(block[0], np.uint8).reshape(-1, width)
            start, end = bounds[number], bounds[number] + len(piece)
            codes[start:end], bounds[number + 1] = piece, end
            ids.append(block[1])
            stamps.append(block[2])
        if all(stamp is None for stamp in stamps):
            return Contents(about, codes, ids, None, bounds)
        joined = np.full((count, 2), -1, np.int64)
        for stamp, start, end in zip(stamps, bounds[:-1], bounds[1:], strict=True):
            if stamp is not None:
                joined[start:end] = np.frombuffer(stamp, "<i8").reshape(-1, 2)
        return Contents(about, codes, ids, joined, bounds)
    except (ValueError, TypeError) as error:
        raise damaged(path, error) from error


def read_meta(path: Path, database: sqlite3.Connection) -> About:
    """The values of :data:`META`.

    Raises:
        HashIndexError: the values are damaged.
    """
    try:
        about = dict(database.execute("SELECT key, value FROM meta ORDER BY key"))
        checksum = about.pop("crc32")
        if checksum != crc32([json.dumps(about)]):
            raise ValueError("the table meta does not match its checksum")
        if {key: type(value) for key, value in about.items()} != META or about["count"] < 0:
            raise ValueError("the table meta has other values than expected")
        check_bits(about["bits"])
        if not isinstance(json.loads(about["extra"]), dict):
            raise ValueError("the extra values are not an object")
        return about
    except (ValueError, TypeError, KeyError, RecursionError, ConfigError) as error:
        raise damaged(path, error) from error


def write(database: sqlite3.Connection, about: About, blocks: Mapping[int, Block]) -> None:
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


def unreadable(path: Path, error: sqlite3.Error) -> HashIndexError:
    """The error for an SQLite error while reading."""
    return in_use(path) if "locked" in str(error) else damaged(path, error)


def unwritable(path: Path, error: Exception) -> DereflError:
    """The error for a file that cannot be written."""
    return in_use(path) if "locked" in str(error) else files.unwritable(path, error)


def in_use(path: Path) -> HashIndexError:
    """The error for a file that another program locks for too long."""
    return HashIndexError(
        f"{path} is in use by another program; try again when that program is done"
    )


def damaged(path: Path, error: Exception | str) -> HashIndexError:
    """The error for a damaged file."""
    return HashIndexError(
        f"{path} is damaged or cut short ({error}); get it again, or make it again with derefl "
        "index"
    )
