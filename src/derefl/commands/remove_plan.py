"""Which file ``derefl remove`` makes of which, and what it refuses to overwrite."""

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from derefl.errors import ConfigError, ImageError, OutputExistsError
from derefl.imaging.folders import find_pictures, real_path
from derefl.imaging.formats import FORMATS, VIDEO_SUFFIXES, is_picture_name

CLEAN, REFLECTION, COMPARE = "clean", "reflection", "compare"


@dataclass(frozen=True)
class Layout:
    """Where outputs go and how they are called.

    Attributes:
        output: a picture file for one input, or a folder; None: each beside its input.
        suffix: what the name gets before its ending.
        ending: with the dot, in place of the input's; empty: the input's.
        reflection: what was taken away is written too.
        compare: a before/after sheet is written too.
    """

    output: Path | None
    suffix: str = ""
    ending: str = ""
    reflection: bool = False
    compare: bool = False

    def named(self, clean: Path) -> Path:
        """A file that the user named, if that goes together with the other attributes.

        Raises:
            ConfigError: it does not.
        """
        if self.suffix:
            raise ConfigError(
                f"got --suffix {self.suffix} and the file {clean}, expected a folder; leave one out"
            )
        if self.ending and FORMATS[clean.suffix.lower()] is not FORMATS[self.ending]:
            raise ConfigError(
                f"got --format {self.ending[1:]} and the file {clean}; leave --format out, or "
                f"write -o {clean.with_suffix(self.ending)}"
            )
        return clean

    def outputs(self, clean: Path) -> dict[str, Path]:
        """Every file that is to be written for a picture."""
        result = {CLEAN: clean}
        if self.reflection:
            result[REFLECTION] = clean.with_name(f"{clean.stem}.reflection{clean.suffix}")
        if self.compare:
            result[COMPARE] = clean.with_name(f"{clean.stem}.compare.png")
        return result


@dataclass(frozen=True)
class Job:
    """One picture: what is read, and what is written, by kind."""

    source: Path
    outputs: dict[str, Path]


def plan(
    inputs: list[Path],
    layout: Layout,
    unreadable: Callable[[OSError], object] | None = None,
    passed_over: Callable[[Path], object] | None = None,
) -> list[Job]:
    """Which file comes from which.

    Args:
        inputs: files, folders, patterns.
        unreadable, passed_over: as :func:`~derefl.imaging.folders.find_pictures` takes them.

    Raises:
        ImageError: an input is missing, there are no pictures, one is a video, OUTPUT is a file
            where a folder is needed or the other way round, or a link leads out of it.
        ConfigError: OUTPUT is a file, and suffix or ending say something else.
    """
    output = layout.output
    found = list(
        find_pictures(
            inputs, output, follow_links=True, unreadable=unreadable, passed_over=passed_over
        )
    )
    for source, _ in found:
        refuse_video(source)
    # Path.is_dir raises an OSError for a name that is too long; check_output says so later.
    if output is not None and not os.path.isdir(output):  # noqa: PTH112
        if is_picture_name(output) and [source for source, _ in found] == inputs[:1]:
            return [Job(inputs[0], layout.outputs(layout.named(output)))]
        if os.path.lexists(output):
            raise ImageError(f"{output} is a file, expected a folder; choose another OUTPUT")
        if is_picture_name(output):
            raise ImageError(
                f"{output} is the name of one picture, expected a folder for all pictures of "
                f"{', '.join(map(str, inputs))}; write -o {output.with_suffix('')}"
            )
    jobs = []
    for source, place in found:
        old = source if output is None else output / place
        clean = old.with_name(f"{old.stem}{layout.suffix}{layout.ending or old.suffix}")
        jobs.append(Job(source, layout.outputs(clean)))
    if output is not None:
        refuse_outside(jobs, output)
    return without_earlier(jobs, inputs) if layout.suffix else jobs


def refuse_video(path: Path) -> None:
    """Raise ImageError for a video."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise ImageError(
            f"{path} is a video, and derefl takes reflections out of photos only; take pictures "
            f"out of it first, for example: ffmpeg -i {path.name} frames/%05d.png"
        )


def without_earlier(jobs: list[Job], named: list[Path]) -> list[Job]:
    """The jobs whose input is not what an earlier run with ``--suffix`` made of another input.

    An input that was named, not found in a folder or by a pattern, stays.
    """
    made = {
        job.outputs[CLEAN].with_suffix(ending)
        for job in jobs
        for ending in ("", ".reflection", ".compare")
    }
    keep = set(named)
    return [job for job in jobs if job.source in keep or job.source.with_suffix("") not in made]


def refuse_outside(jobs: list[Job], folder: Path) -> None:
    """Raise ImageError if a file would be written outside the folder, where a link leads to."""
    inside = real_path(folder)
    for job in jobs:
        place = job.outputs[CLEAN].parent
        if not real_path(place).is_relative_to(inside):
            raise ImageError(
                f"{job.outputs[CLEAN]} lies outside {folder}, for {place} leads to "
                f"{real_path(place)}; remove that link, or choose another OUTPUT"
            )


def check(jobs: list[Job]) -> None:
    """Refuse what would lose somebody's picture.

    Raises:
        ImageError: two inputs have one output, or outputs whose names differ only in case; or
            one's output is another's input.
    """
    sources = {same_file_key(job.source): job for job in jobs}
    owners: dict[str, tuple[Job, Path]] = {}
    for job in jobs:
        for kind, path in job.outputs.items():
            key = same_file_key(path)
            other, others_path = owners.setdefault(key, (job, path))
            if other is not job:
                raise ImageError(both_written(other, others_path, job, path))
            if key in sources and (sources[key] is not job or kind != CLEAN):
                raise ImageError(
                    f"{job.source} would be written to {path}, which is an input too; "
                    "choose another OUTPUT"
                )


def same_file_key(path: Path) -> str:
    """Equal for paths that some file system takes for one: links, case, composed accents."""
    return unicodedata.normalize("NFC", str(real_path(path))).casefold()


def both_written(one: Job, one_path: Path, other: Job, other_path: Path) -> str:
    """Why two jobs cannot both be done."""
    advice = "rename one, or run them one after the other into two folders"
    if real_path(one_path) == real_path(other_path):
        return f"{one.source} and {other.source} would both be written to {other_path}; {advice}"
    return (
        f"{one.source} and {other.source} would be written to {one_path} and {other_path}, which "
        f"many disks take for one file; {advice}"
    )


def refuse_existing(jobs: list[Job]) -> None:
    """Raise OutputExistsError if a file that would be written is there already."""
    there = [path for job in jobs for path in job.outputs.values() if os.path.lexists(path)]
    if there:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise OutputExistsError(
            f"{there[0]}{more} is there already; add --overwrite, --resume to keep what is there, "
            "or choose another OUTPUT"
        )


def remaining(job: Job) -> Job:
    """The job with those outputs only that are not there, or are older than the input.

    Raises:
        ImageError: the picture would replace its own input, which is always there.
    """
    for path in job.outputs.values():
        if real_path(path) == real_path(job.source):
            raise ImageError(
                f"{path} is its own input, so that --resume cannot tell whether it is done; "
                "choose another OUTPUT"
            )
    due = {kind: path for kind, path in job.outputs.items() if not is_current(path, job.source)}
    return replace(job, outputs=due)


def is_current(path: Path, source: Path) -> bool:
    """Whether a file is there and was not written before its source."""
    try:
        return path.is_file() and path.stat().st_mtime_ns >= source.stat().st_mtime_ns
    except OSError:
        return False
