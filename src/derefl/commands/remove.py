"""``derefl remove``: remove reflections from photos."""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from derefl.commands import remove_options
from derefl.commands.remove_pipe import deliver, ending_of, receive, refuse_terminal
from derefl.commands.remove_plan import Job, Layout, check, plan, refuse_existing, remaining
from derefl.commands.remove_report import Report
from derefl.commands.remove_work import Settings, Task, work
from derefl.errors import DereflError
from derefl.files import check_output


def add_parser(subparsers: Any) -> None:
    """Add ``remove`` and its options."""
    parser = subparsers.add_parser(
        "remove",
        help="remove reflections from photos or folders of photos",
        description=remove_options.DESCRIPTION,
        epilog=remove_options.EXAMPLES,
    )
    remove_options.add_options(parser)
    parser.set_defaults(run=run, refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Process files or pipes, then print a report."""
    remove_options.refuse_usage(args)
    if "-" in (*args.inputs, args.output):
        return run_pipe(args)
    output = None if args.output is None else Path(args.output)
    report = remove(args, [Path(name) for name in args.inputs], output)
    if args.json:
        print(json.dumps(report.as_json(), indent=2))
    elif args.dry_run:
        print("\n".join(report.plan()))
    elif not report.interrupted and (len(report.jobs) > 1 or not report.failures()):
        print(report.summary())
    return complain(report, resumable=not args.overwrite)


def run_pipe(args: argparse.Namespace) -> int:
    """Process pipes, with files in a temporary folder in place of the pipes."""
    refuse_terminal(args.inputs[0], args.output)
    with TemporaryDirectory(prefix="derefl-") as name:
        folder, to_stdout = Path(name), args.output == "-"
        hide = f"{folder}{os.sep}"  # the temporary path means nothing to the user
        try:
            source = receive(folder) if args.inputs[0] == "-" else Path(args.inputs[0])
            output = Path(args.output)
            if to_stdout:
                ending = f".{args.format}" if args.format else ending_of(source)
                output = folder / f"standard output{ending}"
            report = remove(args, [source], output)
        except DereflError as error:
            raise DereflError(str(error).replace(hide, "")) from error
        if args.json:
            print(json.dumps(report.as_json(), indent=2).replace(hide, ""))
        status = complain(report, hide=hide)
        if status == 0 and to_stdout:
            deliver(output)
        return status


def remove(args: argparse.Namespace, inputs: list[Path], output: Path | None) -> Report:
    """Do all checks first, then load the model and process the pictures.

    Args:
        args: the options.
        inputs: files, folders and patterns.
        output: a file, a folder, or None: beside each input.

    Raises:
        DereflError: a check failed; no picture was processed.
    """
    unreadable: list[OSError] = []
    passed_over: set[Path] = set()
    ending = f".{args.format}" if args.format else ""
    layout = Layout(output, args.suffix or "", ending, args.reflection, args.compare)
    jobs = plan(inputs, layout, unreadable.append, passed_over.add)
    check(jobs)
    due = [remaining(job) for job in jobs] if args.resume else jobs
    if not (args.overwrite or args.resume):
        refuse_existing(jobs)
    for path in (path for job in due for path in job.outputs.values()):
        check_output(path, overwrite=True)
    report = Report(jobs, due, output, unreadable, passed_over)
    if not args.dry_run and any(job.outputs for job in due):
        go_through([job for job in due if job.outputs], args, report)
    return report


def go_through(jobs: list[Job], args: argparse.Namespace, report: Report) -> None:
    """Load the model and do the jobs. Ctrl-C stops early, and the report states this."""
    from derefl.reflection.remover import load_derefl  # after the checks: torch takes seconds

    settings = Settings(
        detail=args.detail,
        max_megapixels=args.max_megapixels,
        quality=args.quality,
        overwrite=args.overwrite or args.resume,
        workers=args.workers,
    )
    model = load_derefl(args.model, device=args.device)
    start = time.perf_counter()
    with tqdm(
        total=len(jobs),
        unit=" pictures",
        bar_format="{n_fmt}/{total_fmt} |{bar}| {elapsed} gone, {remaining} left, {rate_noinv_fmt}",
        disable=args.json or len(jobs) == 1 or not sys.stderr.isatty(),
    ) as bar:

        def done(task: Task) -> None:
            report.tasks[task.job.source] = task
            bar.update()

        try:
            work(jobs, model, settings, done)
        except KeyboardInterrupt:
            report.interrupted = True
    report.seconds = time.perf_counter() - start


def complain(report: Report, resumable: bool = False, hide: str = "") -> int:
    """Print warnings and errors, and return the exit status.

    Args:
        report: the results.
        resumable: whether ``--resume`` would find the finished pictures.
        hide: a text to remove from the messages.
    """
    for line in (*report.warnings(), *report.failures()):
        print(f"derefl: {line.replace(hide, '')}", file=sys.stderr)
    if report.interrupted:
        print(f"derefl: {report.interruption(resumable)}", file=sys.stderr)
        return 130
    return 1 if report.failures() else 0
