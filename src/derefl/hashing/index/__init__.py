"""Indexes of codes: in a file, in FAISS, and in databases.

:class:`~derefl.hashing.index.postgres.PostgresIndex` needs the extra ``pgvector``,
:class:`~derefl.hashing.index.clickhouse.ClickHouseIndex` the extra ``clickhouse``.
"""
