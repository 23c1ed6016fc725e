"""The work of ``derefl remove``: read, separate and write the pictures."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from derefl.commands.remove_plan import CLEAN, COMPARE, REFLECTION, Job
from derefl.errors import DereflError, PictureTooLargeError, is_out_of_memory
from derefl.imaging.files import check_picture, open_picture, save_picture
from derefl.imaging.sixteen_bit import Picture

if TYPE_CHECKING:
    from derefl.reflection.remover import ReflectionRemover, Separation


@dataclass(frozen=True)
class Settings:
    """How to read, process and write pictures.

    Attributes:
        detail: as in ``ReflectionRemover.separate``.
        max_megapixels: as in ``open_picture``.
        quality: as in ``save_picture``.
        overwrite: replace existing files.
        workers: threads that read ahead and write behind.
    """

    detail: str
    max_megapixels: float
    quality: int | None
    overwrite: bool
    workers: int


@dataclass
class Task:
    """A picture in progress.

    Attributes:
        seconds: processing time so far, without waiting.
        written: the finished outputs.
        left_out: parts of the input, besides the pixels, that the outputs lack; names as in
            ``save_picture``.
        error: the reason of a failure.
    """

    job: Job
    image: Picture | None = None
    layers: "Separation | None" = None
    seconds: float = 0.0
    written: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    error: str | None = None


def work(
    jobs: list[Job],
    model: "ReflectionRemover",
    settings: Settings,
    done: Callable[[Task], object],
) -> None:
    """Do all jobs. A failed job does not stop the others.

    The network runs in this thread, one picture at a time and in order. To limit memory, at most
    ``workers`` pictures are read ahead, and at most as many wait to be written. Ctrl-C reaches only
    this thread: finished pictures are still written, and no new picture is started.

    Args:
        done: called in another thread for each picture that is finished or failed.
    """

    def begin(job: Job) -> "Future[Task]":
        return pool.submit(step, Task(job), lambda task: read_in(task, settings))

    def finish(task: Task) -> None:
        done(step(task, lambda task: write_out(task, settings)))

    waiting = iter(jobs)
    with ThreadPoolExecutor(settings.workers) as pool:
        reads = deque(begin(job) for job in islice(waiting, settings.workers))
        writes: deque[Future[None]] = deque()
        try:
            while reads:
                task = reads.popleft().result()
                reads.extend(begin(job) for job in islice(waiting, 1))
                step(task, lambda task: separate(task, model, settings))
                if len(writes) == settings.workers:
                    writes.popleft().result()
                writes.append(pool.submit(finish, task))
        finally:
            for read in reads:
                read.cancel()
    for written in writes:
        written.result()


def step(task: Task, action: Callable[[Task], object]) -> Task:
    """Run an action on a task; any error is stored and affects this picture only."""
    if task.error is None:
        start = time.perf_counter()
        try:
            action(task)
        except Exception as error:
            task.error = reason(task.job.source, error)
            task.image = task.layers = None
        task.seconds += time.perf_counter() - start
    return task


def read_in(task: Task, settings: Settings) -> None:
    """Read the picture, and check before the slow part that the outputs can be written."""
    task.image = open_picture(task.job.source, max_megapixels=settings.max_megapixels)
    for kind, path in task.job.outputs.items():
        if kind != COMPARE:
            check_picture(task.image, path)


def separate(task: Task, model: "ReflectionRemover", settings: Settings) -> None:
    """Run the network."""
    assert task.image is not None
    task.layers = model.separate(task.image, detail=settings.detail)
    if COMPARE not in task.job.outputs:
        task.image = None  # the task may wait for the writer: free memory


def write_out(task: Task, settings: Settings) -> None:
    """Write all outputs."""
    from derefl.imaging.compare import side_by_side

    assert task.layers is not None
    clean, reflection = task.layers
    for kind, path in task.job.outputs.items():
        if kind == CLEAN:
            picture = clean
        elif kind == REFLECTION:
            picture = reflection
        else:
            assert task.image is not None
            picture = side_by_side({"before": task.image, "after": clean, "reflection": reflection})
        lost = save_picture(picture, path, overwrite=settings.overwrite, quality=settings.quality)
        task.left_out += [part for part in lost if part not in task.left_out]
        task.written.append(path)
    task.image = task.layers = None  # not needed by the report


def reason(source: Path, error: Exception) -> str:
    """One line with the picture and its error."""
    if is_out_of_memory(error):
        text = "memory ran out; make the picture smaller, or close other programs"
    elif isinstance(error, DereflError):
        text = " ".join(str(error).splitlines())
        if isinstance(error, PictureTooLargeError):
            text += f", or allow more with --max-megapixels {error.megapixels}"
    elif isinstance(error, OSError):
        text = str(error)
    else:
        text = f"unexpected {type(error).__name__}: {' '.join(str(error).splitlines())}"
    return text if text.startswith((f"{source} ", f"{source}:")) else f"{source}: {text}"
