"""``derefl bench stores``: how fast and how large an index in a database is on this machine."""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from derefl.commands.bench_faiss import recall
from derefl.commands.bench_search import some_codes
from derefl.errors import ConfigError, MissingExtraError
from derefl.hashing.codes import BITS

if TYPE_CHECKING:
    from derefl.hashing.codes import Codes
    from derefl.hashing.index import Hit
    from derefl.stores.base import DatabaseIndex

PART = 1_000_000
"""Codes added at once."""

BUILD_MB = 1024
"""Memory for building HNSW, enough for three million codes."""


def add_parser(subparsers: Any) -> None:
    """Add ``stores`` and its options."""
    parser = subparsers.add_parser(
        "stores",
        help="the search in a database",
        description="Load random codes into a new table, time single queries (median of several, "
        "each another), and compare every hit with those of a HashIndex of the same codes.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--postgres", metavar="URL", help="address of a PostgreSQL with pgvector")
    where.add_argument("--clickhouse", action="store_true", help="ClickHouse in this process")
    parser.add_argument("--codes", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--bits", type=int, choices=BITS, default=64, help="default: %(default)s")
    parser.add_argument("-k", type=int, default=10, help="hits asked for (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=10, help="queries (default: %(default)s)")
    parser.add_argument(
        "--clustered", action="store_true", help="codes in clusters of a thousand, as in search"
    )
    parser.add_argument("--hnsw", action="store_true", help="of PostgreSQL; says its recall too")
    parser.add_argument("--ef-search", type=int, default=100, help="of HNSW (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load, measure, compare and print; the exit status is 1 if an exact search is not."""
    import numpy as np

    from derefl.hashing.index import HashIndex

    if min(args.codes, args.k, args.runs) < 1:
        raise ConfigError("expected --codes, -k and --runs of at least 1")
    if args.hnsw and args.clickhouse:
        raise ConfigError("ClickHouse has no HNSW index of bits, expected --postgres URL --hnsw")
    rng = np.random.default_rng(0)
    codes = some_codes(rng, args.codes + args.runs, args.bits, args.clustered)
    codes, queries = codes[: args.codes], codes[args.codes :]
    exact = HashIndex(args.bits)
    exact.add(codes, np.arange(args.codes))
    expected = exact.search(queries, args.k)

    with opened(args) as index:
        start = time.perf_counter()
        for row in range(0, args.codes, PART):
            part = codes[row : row + PART]
            index.add(part, np.arange(row, row + len(part)))
        load = time.perf_counter() - start
        found, seconds = timed(index, queries, args.k)
        report = {
            "engine": "clickhouse" if args.clickhouse else "postgres",
            **{name: getattr(args, name) for name in ("codes", "bits", "k", "runs", "clustered")},
            "load_seconds": load,
            "disk_mb": index.disk_bytes() / 1e6,
            "seconds": seconds,
            "identical": found == expected,
        }
        if args.hnsw:
            start = time.perf_counter()
            index.build_hnsw(memory_mb=BUILD_MB)  # type: ignore[attr-defined]
            report["hnsw_build_seconds"] = time.perf_counter() - start
            found, report["hnsw_seconds"] = timed(index, queries, args.k)
            distances = [[hit.distance for hit in hits] for hits in found]
            report["hnsw_recall"] = recall(distances, expected)
            report["hnsw_disk_mb"] = index.disk_bytes() / 1e6
    print(json.dumps(report) if args.json else as_text(report))
    return 0 if report["identical"] else 1


@contextmanager
def opened(args: argparse.Namespace) -> "Iterator[DatabaseIndex]":
    """An empty index that is gone afterwards."""
    from derefl.stores.clickhouse import ClickHouseIndex, Embedded
    from derefl.stores.postgres import PostgresIndex

    if args.clickhouse:
        with tempfile.TemporaryDirectory() as folder, closing(Embedded(folder)) as engine:
            yield ClickHouseIndex(engine, "codes", args.bits, ids=int)
        return
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtraError("psycopg", "pgvector", "an index in PostgreSQL") from error
    with psycopg.connect(args.postgres, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA derefl_bench")
        try:
            connection.execute("SET search_path TO derefl_bench, public")
            yield PostgresIndex(connection, "codes", args.bits, ids=int, ef_search=args.ef_search)
        finally:
            connection.execute("DROP SCHEMA derefl_bench CASCADE")


def timed(index: "DatabaseIndex", queries: "Codes", k: int) -> "tuple[list[list[Hit]], float]":
    """What each query finds, and the median of its seconds, after a warm-up."""
    index.search(queries[0], k)
    found, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        found += index.search(query, k)
        seconds.append(time.perf_counter() - start)
    return found, sorted(seconds)[len(seconds) // 2]


def as_text(report: dict[str, Any]) -> str:
    """The report in words."""
    text = (
        "{engine}: {codes:,} codes of {bits} bits, loaded in {load_seconds:.1f} s, "
        "{disk_mb:.0f} MB on disk\n"
        "one query, k = {k}, exact: {0:.1f} ms, hits {1} HashIndex".format(
            1e3 * report["seconds"],
            "identical to those of" if report["identical"] else "NOT those of",
            **report,
        )
    )
    if "hnsw_recall" not in report:
        return text
    return text + (
        "\nHNSW: built in {hnsw_build_seconds:.1f} s, {hnsw_disk_mb:.0f} MB on disk with it; one "
        "query {0:.1f} ms, recall@{k} {hnsw_recall:.3f}".format(
            1e3 * report["hnsw_seconds"], **report
        )
    )
