"""The report of ``derefl remove``."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from derefl.commands.remove_plan import Job
from derefl.commands.remove_work import Task
from derefl.imaging.folders import kinds, passed_over_note

WRITTEN, SKIPPED, FAILED, PENDING = "written", "skipped", "failed", "pending"


@dataclass
class Report:
    """Planned and finished work, in the order of the inputs.

    Attributes:
        jobs: every picture with all its outputs.
        due: the same, only with the missing outputs.
        output: the location of the outputs; None: beside the inputs.
        unreadable: why folders could not be searched.
        passed_over: files in the inputs that are not pictures.
        tasks: by input, the pictures that are finished or failed.
        seconds: duration without loading the model.
        interrupted: by Ctrl-C.
    """

    jobs: list[Job]
    due: list[Job]
    output: Path | None
    unreadable: list[OSError] = field(default_factory=list)
    passed_over: set[Path] = field(default_factory=set)
    tasks: dict[Path, Task] = field(default_factory=dict)
    seconds: float = 0.0
    interrupted: bool = False

    def status(self) -> Iterator[tuple[Job, str]]:
        """Each picture with its status: written, skipped, failed or pending."""
        for job, due in zip(self.jobs, self.due, strict=True):
            task = self.tasks.get(job.source)
            if task is not None:
                yield job, FAILED if task.error else WRITTEN
            else:
                yield job, PENDING if due.outputs else SKIPPED

    def totals(self) -> Counter[str]:
        """The number of pictures per status."""
        return Counter(status for _, status in self.status())

    def failures(self) -> list[str]:
        """One line per failed folder or picture."""
        tasks = [self.tasks[job.source] for job in self.jobs if job.source in self.tasks]
        return [*map(unsearched, self.unreadable), *(task.error for task in tasks if task.error)]

    def warnings(self) -> list[str]:
        """One line per picture whose outputs lack a part of the input."""
        return [
            f"warning: {source} is written without {', '.join(task.left_out)}"
            for source, task in self.tasks.items()
            if task.left_out
        ]

    def where(self) -> str:
        """The location of the outputs."""
        return "beside their inputs" if self.output is None else f"to {self.output}"

    def summary(self) -> str:
        """One line for the user."""
        totals = self.totals()
        there = f", {totals[SKIPPED]} there already" if totals[SKIPPED] else ""
        if len(self.jobs) > 1:
            text = f"{totals[WRITTEN]} of {len(self.jobs)} pictures written {self.where()}{there}"
        else:
            state = "there already" if totals[SKIPPED] else WRITTEN
            text = f"{state}: {names(self.jobs[0])}"
        return text + passed_over_note(self.passed_over)

    def plan(self) -> list[str]:
        """The planned outputs: one line per picture, and a summary."""
        lines = [f"{job.source} -> {names(job)}" for job in self.due if job.outputs]
        totals = self.totals()
        there = f", {totals[SKIPPED]} are there already" if totals[SKIPPED] else ""
        noun = "picture" if totals[PENDING] == 1 else "pictures"
        total = f"{totals[PENDING]} {noun} would be written {self.where()}{there}"
        return [*lines, total + passed_over_note(self.passed_over)]

    def interruption(self, resumable: bool) -> str:
        """How much is done, and how to continue."""
        if len(self.jobs) == 1:
            return "interrupted"
        done = self.totals()[WRITTEN] + self.totals()[SKIPPED]
        advice = ". To go on, give the same command with --resume" if resumable else ""
        return f"interrupted; {done} of {len(self.jobs)} pictures are done{advice}"

    def as_json(self) -> dict[str, Any]:
        """The report for scripts."""
        files = [self.entry(job, status) for job, status in self.status()]
        for error in self.unreadable:
            files.append(entry(error.filename, FAILED, [], error=unsearched(error)))
        states = Counter(file["status"] for file in files)
        totals = {state: states[state] for state in (WRITTEN, SKIPPED, FAILED, PENDING)}
        return {
            "files": files,
            "totals": totals | {"seconds": round(self.seconds, 3)},
            "passed_over": kinds(self.passed_over),
        }

    def entry(self, job: Job, status: str) -> dict[str, Any]:
        """The report's entry for one picture."""
        task = self.tasks.get(job.source)
        if task is not None and task.error:
            return entry(job.source, status, task.written, task.seconds, task.error)
        done = entry(job.source, status, job.outputs.values(), task.seconds if task else 0)
        return done | {"left_out": task.left_out if task else []}


def entry(
    source: str | Path,
    status: str,
    outputs: Iterable[Path],
    seconds: float = 0,
    error: str | None = None,
) -> dict[str, Any]:
    """The report's entry for one file."""
    return {
        "input": str(source),
        "outputs": list(map(str, outputs)),
        "seconds": round(seconds, 3),
        "status": status,
        "error": error,
        "left_out": [],
    }


def unsearched(error: OSError) -> str:
    """Why a folder was not searched."""
    return f"{error.filename} cannot be searched: {error.strerror}"


def names(job: Job) -> str:
    """The files that a job writes."""
    return ", ".join(map(str, job.outputs.values()))
