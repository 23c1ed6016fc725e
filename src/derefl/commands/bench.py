"""``derefl bench``: speed and memory of the models on this machine."""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from derefl.commands.options import add_device, add_json, whole_number
from derefl.errors import ConfigError

HELP = "measure the models on this machine"

DESCRIPTION = """Measure models in float32 on noise and on a caption of 14 words: the median time of
one picture or text, the parameters, and the multiply-adds of convolutions and matrix products. Each
model runs in a separate process. Peak memory is the memory of this process with Python and torch.
Teachers are not measured, because most of their time is spent in a separate encoder."""

TEXT = "a brown dog runs along the beach with a red ball in its mouth"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``bench``."""
    parser.add_argument("--model", metavar="NAME", nargs="+", help="default: all shipped models")
    add_device(parser)
    parser.add_argument(
        "--threads",
        type=whole_number(1, os.cpu_count()),
        default=1,
        help="CPU threads, at most one per core (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        type=whole_number(16),
        nargs=2,
        metavar=("H", "W"),
        default=(384, 512),
        help="of the picture for models that remove reflections, in pixels (default: 384 512)",
    )
    parser.add_argument("--runs", type=whole_number(1), default=5, help="default: %(default)s")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from derefl.zoo import list_models

    shipped = [entry.name for entry in list_models() if entry.kind != "lcdh-teacher"]
    settings = {key: getattr(args, key) for key in ("device", "threads", "size", "runs")}
    kinds = {name: kind_of(name) for name in args.model or shipped}
    rows: list[dict[str, Any]] = []
    for name, kind in kinds.items():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            rows += process.submit(measure_model, name, kind, **settings).result()
    if args.json:
        print(json.dumps({**settings, "models": rows}))
    else:
        print("{size[0]}×{size[1]} pixels, {device}, {threads} threads, float32".format(**settings))
        print(*table(rows), sep="\n")
    return 0


def kind_of(name: str) -> str:
    """The kind of a model.

    Raises:
        ModelNotFoundError: the model does not exist.
        ConfigError: the model is a teacher.
    """
    from derefl.zoo import locate, read_header

    found = locate(name)
    kind: str = read_header(found.weights, found.config_file)["kind"]
    if kind == "lcdh-teacher":
        raise ConfigError(f"{name} is a teacher, expected a remover or a student; try its student")
    return kind


def measure_model(
    name: str, kind: str, device: str, threads: int, size: Sequence[int], runs: int
) -> list[dict[str, Any]]:
    """One row for each kind of input of a model."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from derefl.training.log import peak_memory_mb

    torch.set_num_threads(threads)
    rows: list[dict[str, Any]] = []
    for item, work, modules in works(name, kind, device, size):
        seconds = median_seconds(work, runs)
        with FlopCounterMode(display=False) as counter:
            work()
        rows.append({"model": name, "item": item, "ms": 1e3 * seconds})
        rows[-1]["parameters"] = sum(p.numel() for module in modules for p in module.parameters())
        rows[-1]["gmacs"] = counter.get_total_flops() / 2e9
        rows[-1]["peak_memory_mb"] = peak_memory_mb()
    return rows


def works(
    name: str, kind: str, device: str, size: Sequence[int]
) -> list[tuple[str, Callable[[], Any], tuple[Any, ...]]]:
    """For each kind of input: its name, a function that processes one input, the used modules."""
    import torch

    from derefl import load_derefl, load_lcdh_student

    if kind == "lcdh-student":
        hasher = load_lcdh_student(name, device=device)
        picture = torch.rand(1, 3, hasher.config.image_size, hasher.config.image_size)
        return [
            ("picture", lambda: hasher.encode_image(picture), (hasher.image, hasher.image_hash)),
            ("text", lambda: hasher.encode_text([TEXT]), (hasher.text, hasher.text_hash)),
        ]
    remover = load_derefl(name, device=device)
    x = torch.rand(1, 3, *size, device=device)
    # Reading a value waits for the device.
    return [("picture", lambda: remover.transmission(x).sum().item(), (remover.network,))]


def median_seconds(work: Callable[[], Any], runs: int) -> float:
    """The median of several runs, after one run as a warm-up."""
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[runs // 2]


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines: rows with equal keys as aligned columns below the keys; numbers have four digits."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.4g}" if value < 1000 else f"{value:,.0f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    lines = [[*rows[0]], *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    ]
