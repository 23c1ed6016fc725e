"""Indexes in databases for large collections, with the methods of :class:`~derefl.HashIndex`.

:class:`~derefl.stores.postgres.PostgresIndex` needs the extra ``pgvector``,
:class:`~derefl.stores.clickhouse.ClickHouseIndex` the extra ``clickhouse``.
"""
