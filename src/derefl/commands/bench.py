"""``derefl bench``: how fast and how large a model is on this machine."""

import argparse
import json
import math
from typing import Any

from derefl.commands import (
    bench_hashing,
    bench_models,
    bench_photo,
    bench_report,
    bench_search,
    bench_stores,
    bench_variants,
)
from derefl.commands.bench_machine import machine
from derefl.commands.bench_models import count_macs, median_seconds, parameters_of
from derefl.memory import peak_memory_mb


def add_parser(subparsers: Any) -> None:
    """Add ``bench`` and its options."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and memory on this machine",
        description="Time a model on one picture of noise: median of several runs after a warm-up. "
        "Peak memory is the whole process's, the interpreter and torch included. With WHAT, "
        "something else is measured; 'derefl bench models' measures all models.",
    )
    parser.add_argument("--model", metavar="NAME", default="derefl-small")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), default=(384, 512), help="in pixels"
    )
    parser.add_argument("--runs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.set_defaults(run=run)
    others = parser.add_subparsers(title="what else to measure", metavar="WHAT")
    bench_models.add_parser(others)
    bench_hashing.add_parser(others)
    bench_search.add_parser(others)
    bench_stores.add_parser(others)
    bench_photo.add_parsers(others)
    bench_variants.add_parser(others)
    bench_report.add_parser(others)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    import torch

    from derefl.errors import ConfigError
    from derefl.reflection.pipeline import load_derefl

    if min(args.size) < 16 or args.runs < 1 or args.threads < 1:
        raise ConfigError(
            "expected --size of at least 16 16, and --runs and --threads of at least 1"
        )
    torch.set_num_threads(args.threads)
    model = load_derefl(args.model, device=args.device)
    before = peak_memory_mb() or math.nan
    x = torch.rand(1, 3, *args.size, generator=torch.Generator().manual_seed(0)).to(args.device)
    # Reading a value waits for the device.
    seconds = median_seconds(lambda: model.transmission(x).sum().item(), args.runs)
    peak = peak_memory_mb() or math.nan
    report = {
        "model": args.model,
        "device": args.device,
        "threads": args.threads,
        "dtype": "float32",
        "height": args.size[0],
        "width": args.size[1],
        "seconds": seconds,
        "peak_memory_mb": peak,
        "memory_before_mb": before,
        "parameters": parameters_of(model),
        "gmacs": count_macs(lambda: model.transmission(x)),
        "machine": machine(),
    }
    if args.json:
        print(json.dumps(report))
    else:
        print(
            "{model}: {seconds:.3f} s a picture of {height}×{width} on {device} with {threads} "
            "threads, {dtype}\n{parameters:,} parameters, {gmacs:.2f} GMACs, peak memory "
            "{peak_memory_mb:.0f} MB ({memory_before_mb:.0f} MB before the first picture)".format(
                **report
            )
        )
    return 0
