"""Search in a database: ``derefl[pgvector]`` or ``derefl[clickhouse]``.

Random codes go into a new table that is deleted at the end. Single queries are timed (the median,
each another query), and the exact hits are compared with the hits of a HashIndex of the same codes:
the exit status is 1 if one differs.
"""

import argparse
import json
import sys
import tempfile
from contextlib import closing, contextmanager

import numpy as np
from search import recall, some_codes, timed

from derefl import HashIndex
from derefl.commands.bench import table
from derefl.commands.options import whole_number

PART = 1_000_000
"""Codes per call of ``add``."""


def parser():
    """The options."""
    result = argparse.ArgumentParser(description=__doc__)
    where = result.add_mutually_exclusive_group(required=True)
    where.add_argument("--postgres", metavar="URL", help="address of a PostgreSQL with pgvector")
    where.add_argument("--clickhouse", action="store_true", help="ClickHouse in this process")
    result.add_argument("--codes", type=whole_number(1), default=1_000_000)
    result.add_argument("--bits", type=int, default=64)
    result.add_argument("-k", type=whole_number(1), default=10, help="hits for each query")
    result.add_argument("--runs", type=whole_number(1), default=10, help="queries")
    result.add_argument("--clustered", action="store_true", help="clusters of a thousand codes")
    result.add_argument("--hnsw", action="store_true", help="PostgreSQL: also an HNSW index")
    result.add_argument("--ef-search", type=whole_number(1), default=100, help="of HNSW")
    result.add_argument("--json", action="store_true")
    return result


@contextmanager
def new_index(args):
    """An empty index that is deleted afterwards."""
    if args.clickhouse:
        from derefl.hashing.index.clickhouse import ClickHouseIndex, Embedded

        with tempfile.TemporaryDirectory() as folder, closing(Embedded(folder)) as engine:
            yield ClickHouseIndex(engine, "codes", args.bits, ids=int)
        return
    import psycopg

    from derefl.hashing.index.postgres import PostgresIndex

    with psycopg.connect(args.postgres, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA derefl_bench")
        try:
            connection.execute("SET search_path TO derefl_bench, public")
            yield PostgresIndex(connection, "codes", args.bits, ids=int, ef_search=args.ef_search)
        finally:
            connection.execute("DROP SCHEMA derefl_bench CASCADE")


def search(index, queries, k):
    """The hits of each query, and the median time in seconds, after a warm-up."""
    index.search(queries[0], k)
    results = [timed(index.search, query, k) for query in queries]
    return [hits for _, hits in results], sorted(s for s, _ in results)[len(queries) // 2]


def main(arguments=None):
    """Measure and print."""
    args = parser().parse_args(arguments)
    codes = some_codes(args.codes + args.runs, args.bits, args.clustered)
    codes, queries = codes[: args.codes], codes[args.codes :]
    exact = HashIndex(args.bits)
    exact.add(codes, np.arange(args.codes))
    expected, _ = search(exact, queries, args.k)

    def row(name, built, found, seconds):
        distances = [
            [[hit.distance for hit in hits] for hits in some] for some in (found, expected)
        ]
        return {
            "index": name,
            "build, s": built,
            "ms": 1e3 * seconds,
            "on disk, MB": index.disk_bytes() / 1e6,
            "recall": recall(*distances),
        }

    with new_index(args) as index:
        parts = range(0, args.codes, PART)
        built = sum(
            timed(index.add, codes[i : i + PART], np.arange(i, min(i + PART, args.codes)))[0]
            for i in parts
        )
        found, seconds = search(index, queries, args.k)
        rows = [row("exact", built, found, seconds)]
        if args.hnsw:
            built, _ = timed(lambda: index.build_hnsw(memory_mb=1024))
            rows.append(row("HNSW", built, *search(index, queries, args.k)))
    if args.json:
        print(json.dumps({**vars(args), "rows": rows}))
    else:
        print(*table(rows), sep="\n")
    if found != expected:
        sys.exit("the exact hits are not the hits of HashIndex")


if __name__ == "__main__":
    main()
