"""``derefl bench models``: every model of the manifest on this machine, beside open_clip."""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from derefl.commands.bench_hashing import clip_towers, rate, student_towers
from derefl.commands.bench_machine import in_words, machine
from derefl.errors import ConfigError, MissingExtraError
from derefl.memory import peak_memory_mb

DESCRIPTION = """Measure every model that 'derefl models' lists, each in a process of its own, on
noise and a caption: median time of one item, items a second in batches (best of several), memory
of the process after loading, after single items and after batches (at most so far, the interpreter
and torch included), parameters, and multiply-adds of one item in convolutions and matrix products.
All in float32. With --compare also open_clip's ViT-B-32 with random weights."""

CLIP = "open_clip ViT-B-32"

HEADER = (
    "model",
    "item",
    "ms, batch 1",
    "items/s",
    "M parameters",
    "GMACs",
    "MB loaded",
    "MB, batch 1",
    "MB, batches",
)


@dataclass(frozen=True)
class Task:
    """What one process measures.

    Attributes:
        model: a name of the manifest, or :data:`CLIP`.
        kind: of the model.
        item: ``picture``, ``text`` or ``pair``.
        batch: items at once where the most a second are wanted.
        size: height and width of a picture whose reflection is removed.
        threads: of the CPU.
        runs: how often each time is taken.
    """

    model: str
    kind: str
    item: str
    batch: int
    size: tuple[int, int]
    threads: int
    runs: int


@dataclass(frozen=True)
class Subject:
    """A model as it is measured: ``encode(n)`` works on n items; how many parameters that takes."""

    encode: Callable[[int], Any]
    parameters: int


ITEMS = {
    "derefl": (("picture", 4),),
    "lcdh-student": (("picture", 16), ("text", 256)),
    "lcdh-teacher": (("pair", 256),),
    CLIP: (("picture", 16), ("text", 16)),
}
"""What is measured of each kind, and in what batches."""


def add_parser(subparsers: Any) -> None:
    """Add ``models`` and its options."""
    parser = subparsers.add_parser(
        "models", help="every model, as a table", description=DESCRIPTION
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these models, by name")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=(384, 512),
        help="of pictures whose reflection is removed (default: 384 512)",
    )
    parser.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--compare", action="store_true", help=f"also {CLIP} (derefl[train])")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if min(args.size) < 16 or min(args.threads, args.runs) < 1:
        raise ConfigError("expected --size of at least 16 16, and --runs and --threads of 1")
    report = {
        "machine": machine(),
        "threads": args.threads,
        "dtype": "float32",
        "size": list(args.size),
        "models": [in_a_process(task) for task in tasks(args)],
    }
    print(json.dumps(report) if args.json else table(report))
    return 0


def tasks(args: argparse.Namespace) -> list[Task]:
    """What is to be measured, in the manifest's order."""
    from derefl.zoo import find_model, list_models

    entries = [find_model(name) for name in args.only] if args.only else list_models()
    models = [(entry.name, entry.kind) for entry in entries]
    if args.compare:
        try:
            import open_clip  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("open_clip_torch", "train", "the comparison") from error
        models.append((CLIP, CLIP))
    return [
        Task(name, kind, item, batch, tuple(args.size), args.threads, args.runs)
        for name, kind in models
        for item, batch in ITEMS[kind]
    ]


def in_a_process(task: Task) -> dict[str, Any]:
    """:func:`measure` in a new process, whose peak of memory is that of this task."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (task,))


def measure(task: Task) -> dict[str, Any]:
    """Everything about one model and one kind of item."""
    import torch

    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    subject = SUBJECTS[task.kind](task)
    with torch.inference_mode():
        loaded = peak_memory_mb()
        seconds = median_seconds(lambda: subject.encode(1), task.runs)
        single = peak_memory_mb()
        items = rate(subject.encode, task.batch, task.runs)
        batched = peak_memory_mb()
    return {
        "model": task.model,
        "item": task.item,
        "seconds": seconds,
        "batch": task.batch,
        "items_per_s": items,
        "parameters": subject.parameters,
        "gmacs": count_macs(lambda: subject.encode(1)),
        "loaded_memory_mb": loaded,
        "peak_memory_mb": single,
        "batch_peak_memory_mb": batched,
    }


def remover(task: Task) -> Subject:
    """Pictures without their reflections, both sizes looked at."""
    import torch

    from derefl.reflection.pipeline import load_derefl

    model = load_derefl(task.model)
    x = torch.rand(task.batch, 3, *task.size)
    return Subject(lambda n: model.transmission(x[:n]), parameters_of(model))


def student(task: Task) -> Subject:
    """Codes of noise, or of a caption."""
    tower = student_towers(task.model)[task.item]
    return Subject(tower.encode, parameters_of(*tower.modules))


def clip(task: Task) -> Subject:
    """Features of the same."""
    tower = clip_towers()[task.item]
    return Subject(tower.encode, parameters_of(*tower.modules))


def teacher(task: Task) -> Subject:
    """Joint codes of pairs, from the features of an encoder that is not measured."""
    import torch

    from derefl.hashing.teaching import load_lcdh_teacher

    model = load_lcdh_teacher(task.model)
    images = torch.rand(task.batch, model.config.image_dim)
    texts = torch.rand(task.batch, model.config.text_dim)

    def encode(n: int) -> Any:
        return model(model.image(images[:n]), model.text(texts[:n]))

    return Subject(encode, parameters_of(model))


SUBJECTS: dict[str, Callable[[Task], Subject]] = {
    "derefl": remover,
    "lcdh-student": student,
    "lcdh-teacher": teacher,
    CLIP: clip,
}


def parameters_of(*modules: Any) -> int:
    """How many numbers these modules have learned."""
    return sum(p.numel() for module in modules for p in module.parameters())


def median_seconds(work: Callable[[], Any], runs: int) -> float:
    """Of several runs after a warm-up."""
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[runs // 2]


def count_macs(work: Callable[[], Any]) -> float:
    """Billions of multiply–adds in convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2e9


def row(of: dict[str, Any]) -> tuple[str, ...]:
    """One measurement, in the order of :data:`HEADER`."""
    memory = [
        "–" if of[key] is None else f"{of[key]:.0f}"
        for key in ("loaded_memory_mb", "peak_memory_mb", "batch_peak_memory_mb")
    ]
    return (
        of["model"],
        of["item"],
        f"{1e3 * of['seconds']:.1f}",
        f"{of['items_per_s']:,.1f} (batch {of['batch']})",
        f"{of['parameters'] / 1e6:.2f}",
        f"{of['gmacs']:.3g}",
        *memory,
    )


def table(report: dict[str, Any]) -> str:
    """Everything in lines and columns."""
    height, width = report["size"]
    rows = [HEADER, *map(row, report["models"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in rows
    ]
    return "\n".join(
        [
            in_words(report["machine"]),
            f"{report['threads']} threads, {report['dtype']}; pictures of {height}×{width} for "
            "the removal of reflections",
            *lines,
        ]
    )
