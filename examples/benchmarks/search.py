"""Search among random codes on one thread, beside FAISS (needs ``derefl[faiss]``).

Each time is the median of several runs, each with other queries, after a warm-up. Recall counts a
hit as right if its distance is no more than the distance of the last exact hit. Files are written
to a temporary folder (TMPDIR), about 18 bytes for each code of 64 bits.
"""

import argparse
import json
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

from derefl import HashIndex
from derefl.commands.bench import table
from derefl.commands.options import whole_number
from derefl.hashing.codes import BITS
from derefl.hashing.index.faiss import KINDS, import_faiss, to_faiss


def parser():
    """The options."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--codes", type=whole_number(1), nargs="+", default=[1_000_000])
    result.add_argument("--bits", type=int, choices=BITS, default=64)
    result.add_argument(
        "--queries", type=whole_number(1), nargs="+", default=[1], help="how many at a time"
    )
    result.add_argument(
        "-k", type=whole_number(1), nargs="+", default=[10], help="hits for each query"
    )
    result.add_argument("--runs", type=whole_number(1), default=20)
    result.add_argument("--clustered", action="store_true", help="clusters of a thousand codes")
    result.add_argument(
        "--faiss",
        choices=KINDS,
        nargs="+",
        default=[],
        help="measure these indexes of FAISS too: flat is exact, ivf and hnsw are approximate",
    )
    result.add_argument("--json", action="store_true")
    return result


def some_codes(n, bits, clustered=False):
    """Random codes, uint8 ``[n bits/8]``; in a cluster an eighth of the bits differs."""
    rng = np.random.default_rng(0)

    def flips(rows):
        return rng.integers(0, 256, (rows, bits // 8), np.uint8)

    if not clustered:
        return flips(n)
    centres, codes = flips(-(-n // 1000)), np.empty((n, bits // 8), np.uint8)
    for start in range(0, n, 1 << 20):  # piece by piece, to save memory
        piece = codes[start : start + (1 << 20)]
        rows = len(piece)
        piece[:] = centres[rng.integers(0, len(centres), rows)]
        piece ^= flips(rows) & flips(rows) & flips(rows)
    return codes


def recall(found, exact):
    """The share of hits as near as the exact hits; both are distances ``[queries][hits]``."""
    good = [sum(d <= right[-1] for d in got) for got, right in zip(found, exact, strict=True)]
    return sum(good) / sum(map(len, exact))


def timed(function, *args):
    """The duration of a call in seconds, and its result."""
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def measure_file(index, more):
    """Save, open, and append a thousand codes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "codes.lcdh"
        save, _ = timed(index.save, path)
        size = path.stat().st_size
        load, loaded = timed(HashIndex.load, path)
        loaded.add(np.resize(more, (1000, more.shape[1])), len(index) + np.arange(1000))
        append, _ = timed(loaded.save, path)
    return {
        "codes": len(index),
        "file, MB": size / 1e6,
        "save, ms": 1e3 * save,
        "open, ms": 1e3 * load,
        "append 1,000, ms": 1e3 * append,
    }


def measure(args, n):
    """The measurements for n codes: the file, and a row for each search."""
    total = max(args.queries) * (args.runs + 1)
    codes = some_codes(n + total, args.bits, args.clustered)
    codes, queries = codes[:n], codes[n:]
    index = HashIndex(args.bits)
    build, _ = timed(index.add, codes, np.arange(n))
    built = {kind: timed(to_faiss, index, kind) for kind in args.faiss}
    rows = []
    for count, k in product(args.queries, args.k):
        seconds = {name: [] for name in ("HashIndex", *built)}
        found = {name: [] for name in seconds}
        for run in range(args.runs + 1):
            batch = queries[run * count : (run + 1) * count]
            passed, hits = timed(index.search, batch, k)
            seconds["HashIndex"].append(passed)
            found["HashIndex"] += [[hit.distance for hit in some] for some in hits]
            for kind, (_, other) in built.items():
                passed, (distances, _) = timed(other.search, batch, min(k, n))
                seconds[kind].append(passed)
                found[kind] += distances.tolist()
        for name, times in seconds.items():
            rows.append(
                {
                    "index": name if name == "HashIndex" else f"FAISS {name}",
                    "codes": n,
                    "queries": count,
                    "k": k,
                    "ms": 1e3 * sorted(times[1:])[args.runs // 2],
                    "recall": recall(found[name], found["HashIndex"]),
                    "build, s": built[name][0] if name in built else build,
                }
            )
    return measure_file(index, queries), rows


def main(arguments=None):
    """Measure and print."""
    args = parser().parse_args(arguments)
    if args.faiss:
        import_faiss().omp_set_num_threads(1)
    files, searches = zip(*(measure(args, n) for n in args.codes), strict=True)
    rows = [row for some in searches for row in some]
    if args.json:
        print(json.dumps({**vars(args), "files": files, "searches": rows}))
    else:
        print(*table(rows), "", *table(files), sep="\n")


if __name__ == "__main__":
    main()
