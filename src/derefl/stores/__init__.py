"""Indexes in databases, for codes that outgrow one file: the verbs of :class:`~derefl.HashIndex`.

:class:`~derefl.stores.postgres.PostgresIndex` needs the extra ``pgvector``,
:class:`~derefl.stores.clickhouse.ClickHouseIndex` the extra ``clickhouse``.
"""
