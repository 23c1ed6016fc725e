"""``derefl bench search``: how fast and how large an index of codes is on this machine."""

import argparse
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derefl.commands import bench_faiss
from derefl.commands.bench_machine import machine
from derefl.errors import ConfigError
from derefl.hashing.codes import BITS
from derefl.memory import peak_memory_mb

if TYPE_CHECKING:
    import numpy as np

    from derefl.hashing.codes import Codes
    from derefl.hashing.index import HashIndex

DESCRIPTION = """Time the exact search among random codes, on one thread: median and best of several
runs, each with other queries. Memory is what Python and NumPy hold at most during a search, the
index included, divided by what codes and ids take. Files are written to a temporary folder (TMPDIR)
of 18 bytes a code of 64 bits."""


def add_parser(subparsers: Any) -> None:
    """Add ``search`` and its options."""
    parser = subparsers.add_parser(
        "search", help="the search among many codes", description=DESCRIPTION
    )

    def numbers(name: str, default: list[int], text: str) -> None:
        parser.add_argument(
            name,
            type=int,
            nargs="+",
            default=default,
            help=f"{text} (default: {' '.join(map(str, default))})",
        )

    numbers("--codes", [10_000_000], "how many to search among")
    parser.add_argument("--bits", type=int, choices=BITS, default=64, help="default: %(default)s")
    numbers("--queries", [1], "how many at a time")
    numbers("-k", [10], "hits asked for")
    parser.add_argument("--runs", type=int, default=20, help="default: %(default)s")
    parser.add_argument(
        "--clustered",
        action="store_true",
        help="codes in clusters of a thousand, an eighth of the bits differing from the centre",
    )
    parser.add_argument(
        "--against",
        choices=("faiss",),
        help="time IndexBinaryFlat on the same codes and queries too, and compare the hits",
    )
    parser.add_argument(
        "--faiss-kinds",
        choices=("ivf", "hnsw"),
        nargs="+",
        default=[],
        help="also measure these approximate indexes of FAISS, with their recall@10",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if min(*args.codes, *args.queries, *args.k, args.runs) < 1:
        raise ConfigError("expected --codes, --queries, -k and --runs of at least 1")
    sizes = []
    for n in args.codes:
        sizes.append(measure(args, n))
        if not args.json:
            print(table(sizes[-1]), flush=True)
    if args.json:
        about = {"machine": machine(), "bits": args.bits, "runs": args.runs, "threads": 1}
        print(json.dumps({**about, "sizes": sizes}))
    return 0


def measure(args: argparse.Namespace, n: int) -> dict[str, Any]:
    """Everything about an index of n codes."""
    import numpy as np

    rng = np.random.default_rng(0)
    total = max(args.queries) * (args.runs + 1)
    codes = some_codes(rng, n + total, args.bits, args.clustered)
    codes, queries = codes[:n], codes[n:].copy()  # a view would keep all of them
    index, report = build(codes, queries[0], args.k[0])
    del codes
    flat = bench_faiss.Flat(index.codes) if args.against else None
    report |= {"clustered": args.clustered, **measure_file(index, queries)}
    report["searches"] = [
        search_times(index, flat, queries, q, k, args.runs) for q in args.queries for k in args.k
    ]
    if args.faiss_kinds:
        report["approximate"] = [
            bench_faiss.measure_kind(index, kind, queries[: args.runs]) for kind in args.faiss_kinds
        ]
    return {**report, "peak_memory_mb": peak_memory_mb()}


def build(codes: "Codes", query: "Codes", k: int) -> "tuple[HashIndex, dict[str, Any]]":
    """An index of the codes, how long that took, and how much memory it and a search take."""
    import numpy as np

    from derefl.hashing.index import HashIndex

    tracemalloc.start()
    index = HashIndex(codes.shape[1] * 8)
    seconds, _ = timed(index.add, codes, np.arange(len(codes)))
    tracemalloc.reset_peak()
    index.search(query, k)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return index, {
        "codes": len(codes),
        "bits": index.bits,
        "build_seconds": seconds,
        "memory_ratio": held / (codes.nbytes + 8 * len(codes)),
    }


def some_codes(rng: "np.random.Generator", n: int, bits: int, clustered: bool) -> "Codes":
    """Random codes, uint8 ``[n bits/8]``, in clusters if asked for, in no order."""
    import numpy as np

    def flips(rows: int) -> "Codes":
        return rng.integers(0, 256, (rows, bits // 8), np.uint8)

    if not clustered:
        return flips(n)
    centres, codes = flips(-(-n // 1000)), np.empty((n, bits // 8), np.uint8)
    for start in range(0, n, 1 << 20):  # in pieces: what it takes would be several times the codes
        piece = codes[start : start + (1 << 20)]
        rows = len(piece)
        piece[:] = centres[rng.integers(0, len(centres), rows)]
        piece ^= flips(rows) & flips(rows) & flips(rows)
    return codes


def measure_file(index: "HashIndex", queries: "Codes") -> dict[str, Any]:
    """Saving, opening, and appending a thousand codes."""
    import numpy as np

    from derefl.hashing.index import HashIndex

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.lcdh"
        save, _ = timed(index.save, path)
        opening, opened = timed(HashIndex.load, path)
        status = path.stat()
        report = {
            "save_seconds": save,
            "open_seconds": opening,
            "file_bytes": status.st_size,
        }
        opened.add(np.resize(queries, (1000, queries.shape[1])), len(index) + np.arange(1000))
        append, _ = timed(opened.save, path)
        return {**report, "append_seconds": append}


def search_times(
    index: "HashIndex",
    flat: "bench_faiss.Flat | None",
    queries: "Codes",
    q: int,
    k: int,
    runs: int,
) -> dict[str, Any]:
    """Seconds a search of q queries, of this index and of FAISS by turns."""
    seconds, others, agrees = [], [], True
    for number in range(runs + 1):
        batch = queries[number * q : (number + 1) * q]
        second, hits = timed(index.search, batch, k)
        seconds.append(second)
        if flat:
            second, found = timed(flat.search, batch, k)
            others.append(second)
            agrees = agrees and bench_faiss.agree(hits, *found)
    report: dict[str, Any] = {"queries": q, "k": k, **middle_and_best(seconds[1:], "seconds")}
    if flat:
        report |= {**middle_and_best(others[1:], "faiss_seconds"), "agrees": agrees}
    return report


def middle_and_best(seconds: list[float], name: str) -> dict[str, float]:
    """Median and minimum; the first run is a warm-up and not among them."""
    return {name: sorted(seconds)[len(seconds) // 2], f"best_{name}": min(seconds)}


def timed(function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Seconds that a call took, and what it gave."""
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def table(size: dict[str, Any]) -> str:
    """What was measured of one number of codes, in words."""
    lines = [
        "{codes:,} codes of {bits} bits{3}: built in {build_seconds:.2f} s, saved in "
        "{save_seconds:.2f} s ({0:,.0f} MB), opened in {1:.1f} ms, 1,000 codes appended in "
        "{2:.1f} ms; memory {memory_ratio:.2f} times the codes and ids".format(
            size["file_bytes"] / 1e6,
            1e3 * size["open_seconds"],
            1e3 * size["append_seconds"],
            ", clustered" if size["clustered"] else "",
            **size,
        )
    ]
    for of in size["searches"]:
        times = [("HashIndex", of["seconds"], of["best_seconds"])]
        if "agrees" in of:
            times.append(("FAISS Flat", of["faiss_seconds"], of["best_faiss_seconds"]))
        what = "one query" if of["queries"] == 1 else f"{of['queries']} queries"
        lines.append(
            f"  {what}, k = {of['k']}, one thread: "
            + "; ".join(f"{name} {1e3 * a:.2f} ms (best {1e3 * b:.2f} ms)" for name, a, b in times)
            + ("" if "agrees" not in of else f"; {'same' if of['agrees'] else 'OTHER'} hits")
        )
    for of in size.get("approximate", []):
        lines.append(
            "  FAISS {kind}: built in {build_seconds:.1f} s, {0:,.0f} MB, {1:.3f} ms a query, "
            "recall@10 {recall:.3f}".format(of["bytes"] / 1e6, 1e3 * of["seconds"], **of)
        )
    return "\n".join(lines)
