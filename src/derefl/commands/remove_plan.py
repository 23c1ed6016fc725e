"""The output files of ``derefl remove``, and the checks that protect existing files."""

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
    """Location and names of the outputs.

    Attributes:
        output: a picture file for one input, or a folder; None: beside each input.
        suffix: text before the ending of the name.
        ending: with the dot; replaces the input's ending; empty: keep the input's ending.
        reflection: also write the removed reflection.
        compare: also write a before/after sheet.
    """

    output: Path | None
    suffix: str = ""
    ending: str = ""
    reflection: bool = False
    compare: bool = False

    def named(self, clean: Path) -> Path:
        """The output file that the user named, checked against the other attributes.

        Raises:
            ConfigError: the file does not fit the other attributes.
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
        """All output files of a picture, by kind."""
        result = {CLEAN: clean}
        if self.reflection:
            result[REFLECTION] = clean.with_name(f"{clean.stem}.reflection{clean.suffix}")
        if self.compare:
            result[COMPARE] = clean.with_name(f"{clean.stem}.compare.png")
        return result


@dataclass(frozen=True)
class Job:
    """One picture: the input, and the outputs by kind."""

    source: Path
    outputs: dict[str, Path]


def plan(
    inputs: list[Path],
    layout: Layout,
    unreadable: Callable[[OSError], object] | None = None,
    passed_over: Callable[[Path], object] | None = None,
) -> list[Job]:
    """Plan the outputs of all inputs.

    Args:
        inputs: files, folders, patterns.
        unreadable, passed_over: as in :func:`~derefl.imaging.folders.find_pictures`.

    Raises:
        ImageError: an input is missing, there are no pictures, an input is a video, OUTPUT is a
            file where a folder is needed or the other way round, or a link leads out of OUTPUT.
        ConfigError: OUTPUT is a file that does not fit suffix or ending.
    """
    output = layout.output
    found = list(
        find_pictures(
            inputs, output, follow_links=True, unreadable=unreadable, passed_over=passed_over
        )
    )
    for source, _ in found:
        refuse_video(source)
    # Path.is_dir raises an OSError for a name that is too long; check_output reports that later.
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
    """The jobs without the outputs of earlier runs with ``--suffix``.

    Inputs that were named directly, not found in a folder or by a pattern, stay.
    """
    made = {
        job.outputs[CLEAN].with_suffix(ending)
        for job in jobs
        for ending in ("", ".reflection", ".compare")
    }
    keep = set(named)
    return [job for job in jobs if job.source in keep or job.source.with_suffix("") not in made]


def refuse_outside(jobs: list[Job], folder: Path) -> None:
    """Raise ImageError if a link would lead an output out of the folder."""
    inside = real_path(folder)
    for job in jobs:
        place = job.outputs[CLEAN].parent
        if not real_path(place).is_relative_to(inside):
            raise ImageError(
                f"{job.outputs[CLEAN]} lies outside {folder}, for {place} leads to "
                f"{real_path(place)}; remove that link, or choose another OUTPUT"
            )


def check(jobs: list[Job]) -> None:
    """Refuse jobs that would destroy a picture.

    Raises:
        ImageError: two inputs have the same output, or outputs whose names differ only in case; or
            the output of one job is the input of another.
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
    """A key that is equal for paths that a file system may treat as the same file.

    Covers links, case and composed accents.
    """
    return unicodedata.normalize("NFC", str(real_path(path))).casefold()


def both_written(one: Job, one_path: Path, other: Job, other_path: Path) -> str:
    """The reason why two jobs cannot both be done."""
    advice = "rename one, or run them one after the other into two folders"
    if real_path(one_path) == real_path(other_path):
        return f"{one.source} and {other.source} would both be written to {other_path}; {advice}"
    return (
        f"{one.source} and {other.source} would be written to {one_path} and {other_path}, which "
        f"many disks take for one file; {advice}"
    )


def refuse_existing(jobs: list[Job]) -> None:
    """Raise OutputExistsError if an output already exists."""
    there = [path for job in jobs for path in job.outputs.values() if os.path.lexists(path)]
    if there:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise OutputExistsError(
            f"{there[0]}{more} is there already; add --overwrite, --resume to keep what is there, "
            "or choose another OUTPUT"
        )


def remaining(job: Job) -> Job:
    """The job without the outputs that exist and are not older than the input.

    Raises:
        ImageError: the picture would replace its own input.
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
    """Whether a file exists and is not older than its source."""
    try:
        return path.is_file() and path.stat().st_mtime_ns >= source.stat().st_mtime_ns
    except OSError:
        return False
