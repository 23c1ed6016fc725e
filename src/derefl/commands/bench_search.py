"""``derefl bench search``: how fast and how large an index of codes is on this machine."""

import argparse
import json
import time
import tracemalloc
from typing import Any

from derefl.errors import ConfigError
from derefl.hashing.codes import BITS


def add_parser(subparsers: Any) -> None:
    """Add ``search`` and its options."""
    parser = subparsers.add_parser(
        "search",
        help="the search among many codes",
        description="Time the exact search of one query among random codes, on one thread: median "
        "and best of several runs, each with another query. Memory is what Python and NumPy hold "
        "at most during a search, the index included, divided by what codes and ids take.",
    )
    parser.add_argument("--codes", type=int, default=10_000_000, help="default: %(default)s")
    parser.add_argument("--bits", type=int, choices=BITS, default=64, help="default: %(default)s")
    parser.add_argument("-k", type=int, default=10, help="hits asked for (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    import numpy as np

    from derefl.hashing.index import HashIndex

    if min(args.codes, args.k, args.runs) < 1:
        raise ConfigError("expected --codes, -k and --runs of at least 1")
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (args.codes, args.bits // 8), np.uint8)
    ids = np.arange(args.codes)
    queries = rng.integers(0, 256, (args.runs + 1, args.bits // 8), np.uint8)
    tracemalloc.start()
    index = HashIndex(args.bits)
    index.add(codes, ids)
    tracemalloc.reset_peak()
    index.search(queries[0], args.k)  # also the warm-up
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    seconds = []
    for query in queries[1:]:
        start = time.perf_counter()
        index.search(query, args.k)
        seconds.append(time.perf_counter() - start)
    report = {
        "codes": args.codes,
        "bits": args.bits,
        "k": args.k,
        "runs": args.runs,
        "seconds": sorted(seconds)[args.runs // 2],
        "best_seconds": min(seconds),
        "memory_ratio": held / (codes.nbytes + ids.nbytes),
    }
    if args.json:
        print(json.dumps(report))
    else:
        print(
            "{codes:,} codes of {bits} bits, k = {k}, one query, one thread: {0:.1f} ms (best of "
            "{runs} runs {1:.1f} ms)\nmemory {memory_ratio:.2f} times the codes and ids".format(
                1e3 * report["seconds"], 1e3 * report["best_seconds"], **report
            )
        )
    return 0
