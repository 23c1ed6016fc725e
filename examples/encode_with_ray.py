"""Encode millions of pictures with Ray Data: ``python examples/encode_with_ray.py --workers 2``.

The output is a Parquet file with one row per picture, in the order of the input: ``id``, the path;
``code``, bits/8 bytes; ``sha256`` of the model; ``error``, null or the reason for a missing code.
The output does not depend on the number of workers.
"""

import argparse
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from derefl import DereflError, load_lcdh_student
from derefl.errors import ConfigError, MissingExtraError
from derefl.files import atomic_file, check_output
from derefl.hashing.codes import BITS
from derefl.hashing.index.encoding import encode_files
from derefl.imaging.folders import find_pictures

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # disable usage reports
try:
    import pyarrow as pa
    import ray
    import ray.data
    from pyarrow import parquet
except ImportError as error:
    sys.exit(f"derefl: {MissingExtraError('ray', 'ray', 'encoding on many machines')} ({error})")

PICTURES = Path(__file__).parent / "pictures"
BATCH, BLOCK = 32, 128
"""Pictures per batch of the network, and pictures per block of a worker."""


class Encoder:
    """A worker that loads the student once."""

    def __init__(self, model: str, bits: int) -> None:
        self.hasher = load_lcdh_student(model, bits=bits)

    def __call__(self, batch: dict[str, np.ndarray]) -> pa.Table:
        """One row per picture; an unreadable picture does not affect the others."""
        ids = batch["id"].tolist()
        batches = encode_files(self.hasher, [Path(id) for id in ids])
        results = [result for results in batches for result in results]
        codes = [None if isinstance(r, DereflError) else r.tobytes() for r in results]
        errors = [str(r) if isinstance(r, DereflError) else None for r in results]
        return pa.table(
            {
                "id": pa.array(ids, pa.string()),
                "code": pa.array(codes, pa.binary(self.hasher.bits // 8)),
                "sha256": pa.array([self.hasher.sha256] * len(ids), pa.string()),
                "error": pa.array(errors, pa.string()),
            }
        )


def encoded(paths: list[Path], model: str, bits: int, workers: int) -> Iterator[pa.Table]:
    """Rows of the pictures in batches, in the order of the input."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1 << 20  # codes are small; Ray reserves memory for blocks
    blocks = min(len(paths), max(workers, math.ceil(len(paths) / BLOCK)))
    pictures = ray.data.from_items([{"id": str(p)} for p in paths], override_num_blocks=blocks)
    rows = pictures.map_batches(
        Encoder,
        fn_constructor_args=(model, bits),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    yield from rows.iter_batches(batch_size=None, batch_format="pyarrow")


def write(batches: Iterator[pa.Table], output: Path) -> tuple[list[str], float]:
    """Write the batches; return the failures and the pictures per second.

    The time starts at the first batch, to exclude the start of the workers. With a single batch,
    the speed is unknown.
    """
    first = next(batches)
    count, failures, start = 0, failed(first), time.perf_counter()
    with atomic_file(output) as file, parquet.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for rows in batches:
            writer.write_table(rows)
            failures += failed(rows)
            count += len(rows)
    return failures, count / (time.perf_counter() - start) if count else math.nan


def failed(rows: pa.Table) -> list[str]:
    """The errors of pictures without a code."""
    return [error for error in rows["error"].to_pylist() if error]


def run(args: argparse.Namespace) -> int:
    """Encode the pictures and write the file; the exit status is 1 if a picture failed."""
    if args.workers < 1:
        raise ConfigError(f"got --workers {args.workers}, expected at least 1")
    check_output(args.output, args.overwrite)
    paths = [path for path, _ in find_pictures(args.photos)]
    load_lcdh_student(args.model, bits=args.bits)  # report a wrong model before the workers start
    local = {
        "num_cpus": args.workers + 1,  # one for the task that distributes the pictures
        "object_store_memory": 100 << 20,
        "include_dashboard": False,
        "logging_level": "error",
    }
    ray.init(args.address, log_to_driver=False, **({} if args.address else local))
    try:
        failures, rate = write(encoded(paths, args.model, args.bits, args.workers), args.output)
    finally:
        ray.shutdown()
    speed = "" if math.isnan(rate) else f", {rate:.1f} pictures/s with {args.workers} workers"
    print(f"{args.output}: {len(paths)} pictures, {len(failures)} failed{speed}")
    for failure in failures:
        print(f"derefl: {' '.join(failure.splitlines())}", file=sys.stderr)
    return 1 if failures else 0


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Encode pictures with Ray Data.")
    parser.add_argument("photos", metavar="PHOTOS", nargs="*", type=Path, default=[PICTURES])
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/codes.parquet"))
    parser.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it is there")
    parser.add_argument("--workers", type=int, default=1, help="each takes a core")
    parser.add_argument("--bits", type=int, choices=BITS, default=64, help="default: %(default)s")
    parser.add_argument("--model", default="lcdh-student", help="as in load_lcdh_student")
    parser.add_argument("--address", help="of a Ray cluster whose machines see PHOTOS too")
    try:
        return run(parser.parse_args())
    except DereflError as error:
        sys.exit(f"derefl: {' '.join(str(error).splitlines())}")


if __name__ == "__main__":
    sys.exit(main())
