"""``derefl bench report``: the page of benchmarks, its plots, and the numbers behind them."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from derefl.errors import ConfigError, DataError
from derefl.files import atomic_file, check_output, write_file

DESCRIPTION = """Write benchmarks.md, its plots and benchmarks.json into a folder.

What is to be measured here, models and search, is measured now. With --from, the numbers of an
earlier benchmarks.json are taken instead; --part replaces one part of them by what another command
printed. A part that is missing is left out of the page, which then says which command makes it; one
that was to be measured and could not be makes the exit status 1."""

EXAMPLES = """examples:
  derefl bench report --out docs/
  derefl bench models --compare --json > models.json
  derefl bench report --from docs/benchmarks.json --part models=models.json --out docs/
"""

PARTS = {
    "models": "derefl bench models --threads 1 --compare --json",
    "search": "derefl bench search --codes 100000 1000000 10000000 --queries 1 64 -k 10 100 "
    "--against faiss --json",
    "recall": "derefl evaluate hashing --images flickr8k/images --captions flickr8k/captions.csv "
    "--split flickr8k/dev.txt --train-split flickr8k/train.txt --baselines --json",
}
"""What makes each part of the numbers."""

MEASURED_HERE = ("models", "search")
"""The parts that need no data."""


def add_parser(subparsers: Any) -> None:
    """Add ``report`` and its options."""
    parser = subparsers.add_parser(
        "report",
        help="a page with tables and plots (needs derefl[train])",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    parser.add_argument(
        "--from", dest="source", metavar="FILE", type=Path, help="an earlier benchmarks.json"
    )
    parser.add_argument(
        "--part",
        metavar="NAME=FILE",
        action="append",
        default=[],
        help=f"JSON that a command printed: {', '.join(PARTS)}; may be given several times",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure or read, then write the page, its plots and the numbers."""
    check_output(args.out / "benchmarks.json", overwrite=True)
    given = parts(args.part)
    measure = not (args.source or given)
    results = measured() if measure else {**read(args.source), **given}
    from derefl.commands.bench_report_page import page
    from derefl.commands.bench_report_plots import plots
    from derefl.zoo import list_models

    entries = list_models()
    pictures = args.out / "pictures"
    for name, draw in plots(entries, results).items():
        with atomic_file(pictures / f"{name}.svg") as file:
            draw(file)
    # The page last: whoever sees it finds the rest.
    for name, text in (
        ("benchmarks.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n"),
        ("benchmarks.md", page(entries, results)),
    ):
        write_file(args.out / name, text.encode())
    print(f"{args.out / 'benchmarks.md'}: {', '.join(results) or 'nothing measured'}")
    failed = [name for name in MEASURED_HERE if measure and name not in results]
    for name in failed:
        print(f"not measured: {name}, {PARTS[name]}", file=sys.stderr)
    return 1 if failed else 0


def parts(arguments: list[str]) -> dict[str, Any]:
    """The parts that ``--part`` names, read.

    Raises:
        ConfigError: there is no such part.
        DataError: a file cannot be read.
    """
    found = {}
    for argument in arguments:
        name, _, path = argument.partition("=")
        if name not in PARTS or not path:
            raise ConfigError(
                f"got --part {argument}, expected NAME=FILE with NAME one of {', '.join(PARTS)}"
            )
        found[name] = read(Path(path))
    return found


def read(path: Path | None) -> dict[str, Any]:
    """A file of numbers; nothing without one."""
    if path is None:
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); write it with --json") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is no JSON object; write it with --json")
    return value


def measured() -> dict[str, Any]:
    """The parts that can be measured here, each in a process of its own."""
    results = {}
    for name in MEASURED_HERE:
        command = PARTS[name].split()[1:]
        print(f"derefl {' '.join(command)}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "derefl", *command], stdout=subprocess.PIPE, text=True
        )
        if done.returncode == 0:
            results[name] = json.loads(done.stdout)
    return results
