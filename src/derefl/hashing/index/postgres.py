"""An index in PostgreSQL with pgvector: exact, or faster with an HNSW index."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from derefl.errors import HashIndexError, needs
from derefl.hashing.codes import Codes
from derefl.hashing.index.base import Hit
from derefl.hashing.index.ids import Column, Id
from derefl.hashing.index.server import DatabaseIndex, IdType

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

LONGEST_NAME = 63
"""Maximum bytes of a name in PostgreSQL, which cuts longer names with only a notice."""

MOST_NEAREST = 1000
"""The largest ``hnsw.ef_search``."""

ANY = "id = ANY(%(ids)s::{ids})"
OID = "to_regclass({name})::oid"


class PostgresIndex(DatabaseIndex):
    """Codes in a PostgreSQL table, columns ``id``, ``code bit(n)`` and ``place`` (rising).

    Every call is one transaction, or a part of the connection's current transaction. Several
    clients may read and write at once. You can join, filter and back up the table as any other; its
    comment names the model of the codes.

    Args:
        connection: a psycopg connection, or an argument of ``psycopg.connect``: ``postgresql://…``.
        table: any name; the table is created if it does not exist. The connection's
            ``search_path`` selects the schema.
        bits: length of the codes; None: as in the table, 64 for a new table.
        model: name of the model of the codes; only used for a new table.
        sha256: of the model's checkpoint; "" turns the check off.
        ids: type of the ids, ``str`` or ``int``; None: as in the table, ``str`` for a new table.
        ef_search: size of the candidate list of the HNSW index, 1 to 1,000: higher values improve
            recall and take longer. Used after :meth:`build_hnsw`; None: exact search.

    Raises:
        HashIndexError: the table has another model, code length or type of ids, or is not a table
            of derefl; or the server has no pgvector 0.8 or newer.
        MissingExtraError: psycopg is not installed.
    """

    def __init__(
        self,
        connection: "Connection[Any] | str",
        table: str,
        bits: int | None = None,
        model: str = "",
        sha256: str = "",
        ids: IdType | None = None,
        ef_search: int | None = 100,
    ) -> None:
        with needs("psycopg", "pgvector", "an index in PostgreSQL"):
            import psycopg
        if len(table.encode(errors="replace")) > LONGEST_NAME:
            raise HashIndexError(
                f"got the table name {table!r}, expected at most {LONGEST_NAME} bytes; choose a "
                "shorter one"
            )
        if ef_search is not None and not 1 <= ef_search <= MOST_NEAREST:
            raise HashIndexError(
                f"got ef_search={ef_search}, expected 1 to {MOST_NEAREST}, or None"
            )
        self.ef_search = ef_search
        self._own = isinstance(connection, str)
        self._connection = (
            psycopg.connect(connection, autocommit=True)
            if isinstance(connection, str)
            else connection
        )
        try:
            super().__init__(table, bits, model, sha256, ids)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if this index opened it."""
        if self._own:
            self._connection.close()

    def __len__(self) -> int:
        with self._transaction():
            return self._rows("SELECT count(*) FROM {table}")[0][0]

    def disk_bytes(self) -> int:
        """The size of the table and its indexes on disk."""
        with self._transaction():
            return self._rows(f"SELECT pg_total_relation_size({OID})")[0][0]

    def build_hnsw(
        self, m: int = 16, ef_construction: int = 64, memory_mb: int | None = None
    ) -> None:
        """Create the HNSW index, with which a search reads only a small part of the codes.

        Nothing happens if the table already has one. New codes are added to the HNSW index. For
        millions of codes, add the codes first and build afterwards: this is faster.

        Args:
            m: links per code: more improve recall and need more memory.
            ef_construction: size of the candidate list during the build, at least twice m.
            memory_mb: memory for the build; None: the server's setting. The build is many times
                faster if all links fit, about 300 bytes per code.
        """
        with self._transaction():
            if self._has_hnsw():
                return
            if memory_mb is not None:
                self._set("maintenance_work_mem", f"{memory_mb}MB")
            self._rows(
                "CREATE INDEX ON {table} USING hnsw (code bit_hamming_ops) "
                f"WITH (m = {int(m)}, ef_construction = {int(ef_construction)})"
            )

    def _comment(self) -> str | None:
        with self._transaction():
            found = self._rows(f"SELECT obj_description({OID}, 'pg_class') WHERE {OID} IS NOT NULL")
        return found[0][0] or "" if found else None

    def _create(self, comment: str) -> None:
        from psycopg import errors, sql

        try:
            with self._transaction():
                self._rows("CREATE EXTENSION IF NOT EXISTS vector")
                self._rows(
                    f"CREATE TABLE {{table}} (id {self._id_type} PRIMARY KEY, code {{bit}} NOT "
                    "NULL, place bigserial NOT NULL)"
                )
                statement = sql.SQL("COMMENT ON TABLE {} IS {}")
                names = sql.Identifier(self.table), sql.Literal(comment)
                self._connection.execute(statement.format(*names))
        except (
            errors.FeatureNotSupported,
            errors.UndefinedFile,
            errors.InsufficientPrivilege,
        ) as error:
            raise HashIndexError(
                f"the server cannot hold the index: {error.diag.message_primary}; ask for pgvector "
                "0.8 or newer (CREATE EXTENSION vector) and the right to make a table"
            ) from error

    def _transaction(self) -> AbstractContextManager[Any]:
        return self._connection.transaction()

    def _known(self, ids: list[Id]) -> list[Id]:
        return [id for (id,) in self._rows(f"SELECT id FROM {{table}} WHERE {ANY}", ids=ids)]

    def _add(self, codes: Codes, ids: Column) -> None:
        from psycopg import errors

        try:
            with (
                self._transaction(),
                self._connection.cursor() as cursor,
                cursor.copy(self._sql("COPY {table} (id, code) FROM STDIN", "%")) as copy,
            ):
                for row in zip(ids.tolist(), hexadecimal(codes), strict=True):
                    copy.write_row(row)
        except errors.UniqueViolation as error:
            with self._transaction():
                known = self._known(ids.tolist())
            if not known:  # removed by another client, or another constraint
                raise
            raise self._known_error(known[0]) from error

    def _upsert(self, codes: Codes, ids: Column) -> None:
        with self._transaction():
            self._rows(
                "INSERT INTO {table} (id, code) SELECT id, code::{bit} FROM "
                "unnest(%(ids)s::{ids}, %(codes)s::text[]) WITH ORDINALITY AS new (id, code, n) "
                "ORDER BY n ON CONFLICT (id) DO UPDATE SET code = excluded.code",
                ids=ids.tolist(),
                codes=hexadecimal(codes),
            )

    def _delete(self, ids: list[Id]) -> None:
        self._rows(f"DELETE FROM {{table}} WHERE {ANY}", ids=ids)

    def _search(self, queries: Codes, k: int, chosen: list[Id] | None) -> list[list[Hit]]:
        with self._transaction():
            if chosen is None and self.ef_search and k <= MOST_NEAREST and self._has_hnsw():
                self._set("hnsw.ef_search", str(max(self.ef_search, k)))
                # Continues if the rows that were found have been removed.
                self._set("hnsw.iterative_scan", "strict_order")
                query = (
                    "SELECT id, d::int FROM (SELECT id, place, code <~> %(code)s::{bit} AS d "
                    "FROM {table} ORDER BY code <~> %(code)s::{bit} LIMIT %(k)s) AS near "
                    "ORDER BY d, place"
                )
            else:
                # HNSW does not support this order, so that all codes are read.
                query = f"{self._distances(chosen)} ORDER BY d, place LIMIT %(k)s"
            return self._hits(query, queries, k=k, ids=chosen)

    def _within(self, queries: Codes, radius: int, chosen: list[Id] | None) -> list[list[Hit]]:
        near = "code <~> %(code)s::{bit} <= %(radius)s"
        query = f"{self._distances(chosen, near)} ORDER BY d, place"
        with self._transaction():
            return self._hits(query, queries, radius=radius, ids=chosen)

    def _distances(self, ids: list[Id] | None, *conditions: str) -> str:
        conditions = (*conditions, ANY) if ids is not None else conditions
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return "SELECT id, (code <~> %(code)s::{bit})::int AS d FROM {table}" + where

    def _hits(self, query: str, queries: Codes, **values: Any) -> list[list[Hit]]:
        return [
            [Hit(*row) for row in self._rows(query, code=code, **values)]
            for code in hexadecimal(queries)
        ]

    def _has_hnsw(self) -> bool:
        return bool(
            self._rows(
                "SELECT 1 FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
                "JOIN pg_am ON pg_am.oid = relam WHERE amname = 'hnsw' AND indisvalid "
                f"AND indrelid = {OID}"
            )
        )

    @property
    def _id_type(self) -> str:
        return "bigint" if self._integers else "text"

    def _set(self, name: str, value: str) -> None:
        """Change a setting until the end of the transaction."""
        self._rows("SELECT set_config(%(name)s, %(value)s, true)", name=name, value=value)

    def _sql(self, text: str, percent: str = "%%") -> "Composed":
        """The statement with ``{table}``, its ``{name}`` and the types ``{bit}``, ``{ids}``."""
        from psycopg import sql

        name = sql.Identifier(self.table).as_string(self._connection)
        name = name.replace("%", percent)  # in a statement with values, % begins a placeholder
        return sql.SQL(text).format(
            table=sql.SQL(name),
            name=sql.Literal(name),
            bit=sql.SQL(f"bit({self.bits})"),
            ids=sql.SQL(f"{self._id_type}[]"),
        )

    def _rows(self, text: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement; not prepared, because the best plan depends on the values."""
        from psycopg.rows import tuple_row

        with self._connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(self._sql(text), values, prepare=False)
            return cursor.fetchall() if cursor.description else []


def hexadecimal(codes: Codes) -> list[str]:
    """Codes in PostgreSQL's notation for ``bit``: x and two hex digits per byte."""
    text, width = codes.tobytes().hex(), 2 * codes.shape[1]
    return [f"x{text[start : start + width]}" for start in range(0, len(text), width)]
