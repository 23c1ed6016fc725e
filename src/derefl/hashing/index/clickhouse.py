"""An index in ClickHouse: exact scans with all cores and machines of the engine."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from derefl.errors import needs
from derefl.hashing.codes import Codes
from derefl.hashing.index.base import Hit
from derefl.hashing.index.ids import Column, Id
from derefl.hashing.index.server import DatabaseIndex, IdType

if TYPE_CHECKING:
    import pyarrow


class Engine(Protocol):
    """A connection to ClickHouse: :class:`Embedded`, or your own class around a server's client."""

    def query(self, sql: str) -> str:
        """Run a statement; return its output as text, in the format that the statement names."""
        ...

    def given(self, rows: "pyarrow.Table", structure: str) -> AbstractContextManager[str]:
        """Make rows available to the engine: an expression for FROM, valid until the block ends.

        Args:
            rows: a few columns.
            structure: their names and types in ClickHouse's notation.
        """
        ...

    def close(self) -> None:
        """Release the resources."""
        ...


class Embedded:
    """The engine inside this process (chdb), with its data in a folder; one folder at a time.

    Args:
        folder: is created if it does not exist.

    Raises:
        MissingExtraError: chdb is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        with needs("chdb", "clickhouse", "an index in ClickHouse"):
            from chdb.session import Session
        self._session: Any = Session(str(folder))

    def query(self, sql: str) -> str:
        """As :meth:`Engine.query`."""
        return str(self._session.query(sql))

    @contextmanager
    def given(self, rows: "pyarrow.Table", structure: str) -> Iterator[str]:
        """As :meth:`Engine.given`, with a temporary file."""
        from pyarrow import parquet

        with tempfile.TemporaryDirectory(prefix="derefl-") as folder:
            path = Path(folder, "rows.parquet")
            parquet.write_table(rows, path, compression="none")
            yield f"file({literal(str(path))}, Parquet, {literal(structure)})"

    def close(self) -> None:
        """Close the folder, so that another one can be opened."""
        self._session.close()


class ClickHouseIndex(DatabaseIndex):
    """Codes in a ClickHouse table, columns ``id``, ``code`` (a number) and ``place`` (rising).

    Only one client may write at a time: ClickHouse has no unique keys and no transactions. An
    upsert first removes codes and then writes the new ones; repeat an upsert that was interrupted.

    Args:
        engine: for example ``Embedded("folder")``.
        table: any name, in the engine's current database; the table is created if it does not
            exist.
        bits: length of the codes; None: as in the table, 64 for a new table.
        model: name of the model of the codes; only used for a new table.
        sha256: of the model's checkpoint; "" turns the check off.
        ids: type of the ids, ``str`` or ``int``; None: as in the table, ``str`` for a new table.

    Raises:
        HashIndexError: the table has another model, code length or type of ids, or is not a table
            of derefl.
    """

    def __init__(
        self,
        engine: Engine,
        table: str,
        bits: int | None = None,
        model: str = "",
        sha256: str = "",
        ids: IdType | None = None,
    ) -> None:
        self._engine = engine
        self._name = "`" + table.replace("\\", "\\\\").replace("`", "\\`") + "`"
        super().__init__(table, bits, model, sha256, ids)

    def __len__(self) -> int:
        return int(self._rows(f"SELECT count() FROM {self._name}")[0][0])

    def disk_bytes(self) -> int:
        """The size of the table on disk."""
        found = self._rows(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active "
            f"AND database = currentDatabase() AND table = {literal(self.table)}"
        )
        return int(found[0][0])

    def _comment(self) -> str | None:
        found = self._rows(
            "SELECT comment FROM system.tables WHERE database = currentDatabase() "
            f"AND name = {literal(self.table)}"
        )
        return found[0][0] if found else None

    def _create(self, comment: str) -> None:
        # Rising numbers need almost no space as differences; codes do not compress.
        id_codec = " CODEC(Delta, LZ4)" if self._integers else ""
        self._engine.query(
            f"CREATE TABLE {self._name} (id {self._id_type}{id_codec}, "
            f"code UInt{self.bits} CODEC(NONE), place UInt64 CODEC(Delta, LZ4)) "
            f"ENGINE = MergeTree ORDER BY id COMMENT {literal(comment)}"
        )

    def _known(self, ids: list[Id]) -> dict[Id, int]:
        """The places of the ids that are in the table."""
        with self._lent(ids) as chosen:
            rows = self._rows(f"SELECT id, place FROM {self._name} WHERE {chosen}")
        return {self._id(id): int(place) for id, place in rows}

    def _add(self, codes: Codes, ids: Column) -> None:
        if known := self._known(ids.tolist()):
            raise self._known_error(next(id for id in ids.tolist() if id in known))
        self._write(codes, ids.tolist(), {})

    def _upsert(self, codes: Codes, ids: Column) -> None:
        places = self._known(ids.tolist())
        self._delete(list(places))
        self._write(codes, ids.tolist(), places)

    def _delete(self, ids: list[Id]) -> None:
        if ids:
            with self._lent(ids) as chosen:
                self._engine.query(f"DELETE FROM {self._name} WHERE {chosen}")

    def _search(self, queries: Codes, k: int, chosen: list[Id] | None) -> list[list[Hit]]:
        # The first scan reads only codes, and the second scan reads few ids and places.
        return self._hits(
            "WITH (SELECT max(d) FROM (SELECT {d} AS d FROM {table} WHERE {chosen} ORDER BY d "
            f"LIMIT {k})) AS cut "
            "SELECT id, {d} AS d FROM {table} WHERE {chosen} AND d <= cut "
            f"ORDER BY d, place LIMIT {k}",
            queries,
            chosen,
        )

    def _within(self, queries: Codes, radius: int, chosen: list[Id] | None) -> list[list[Hit]]:
        sql = f"SELECT id, {{d}} AS d FROM {{table}} WHERE {{chosen}} AND d <= {radius}"
        return self._hits(f"{sql} ORDER BY d, place", queries, chosen)

    def _hits(self, sql: str, queries: Codes, ids: list[Id] | None) -> list[list[Hit]]:
        """The statement's result for each query: ids and distances."""
        with self._lent(ids) as chosen:
            found = [
                self._rows(sql.format(d=self._distance(query), table=self._name, chosen=chosen))
                for query in queries
            ]
        return [[Hit(self._id(id), int(distance)) for id, distance in rows] for rows in found]

    def _distance(self, query: Codes) -> str:
        number = int.from_bytes(query.tobytes(), "big")
        return f"bitHammingDistance(code, toUInt{self.bits}('{number}'))"

    def _write(self, codes: Codes, ids: list[Id], places: dict[Id, int]) -> None:
        """Write codes, at their places or at the end."""
        import pyarrow as pa

        end = int(self._rows(f"SELECT max(place) FROM {self._name}")[0][0]) + 1
        width = self.bits // 8
        rows = pa.table(
            {
                "id": self._column(ids),
                "code": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(width), len(codes), [None, pa.py_buffer(codes)]
                ),
                "place": pa.array(
                    [places.get(id, end + row) for row, id in enumerate(ids)], pa.uint64()
                ),
            }
        )
        structure = f"id {self._id_type}, code FixedString({width}), place UInt64"
        with self._engine.given(rows, structure) as given:
            self._engine.query(
                f"INSERT INTO {self._name} "
                f"SELECT id, reinterpretAsUInt{self.bits}(reverse(code)), place FROM {given}"
            )

    @contextmanager
    def _lent(self, ids: list[Id] | None) -> Iterator[str]:
        """A condition: the row has one of these ids."""
        import pyarrow as pa

        if ids is None:
            yield "true"
            return
        rows = pa.table({"id": self._column(ids)})
        with self._engine.given(rows, f"id {self._id_type}") as given:
            yield f"id IN (SELECT id FROM {given})"

    def _column(self, ids: list[Id]) -> "pyarrow.Array":
        import pyarrow as pa

        return pa.array(ids, pa.int64() if self._integers else pa.string())

    def _id(self, text: Any) -> Id:
        """An id from the engine's output, which has large integers as strings."""
        return int(text) if self._integers else str(text)

    @property
    def _id_type(self) -> str:
        return "Int64" if self._integers else "String"

    def _rows(self, sql: str) -> list[list[Any]]:
        text = self._engine.query(f"{sql} FORMAT JSONCompactEachRow")
        return [json.loads(line) for line in text.split("\n") if line]


def literal(text: str) -> str:
    """A string as a literal in a ClickHouse statement."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
