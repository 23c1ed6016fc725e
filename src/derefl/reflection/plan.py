"""Plan which photos of a folder are read and which files are written, with all checks."""

import os
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from derefl.errors import ConfigError, ImageError, OutputExistsError
from derefl.files import check_output
from derefl.imaging.folders import find_pictures, real_path
from derefl.imaging.formats import FORMATS, VIDEO_SUFFIXES, is_picture_name

Status = Literal["pending", "written", "copied", "skipped", "failed"]


@dataclass
class Result:
    """One picture of :func:`~derefl.reflection.folder.dereflect_folder`.

    Attributes:
        source: the input file.
        outputs: the output files by kind: ``clean``, ``reflection``, ``compare``. For a failed
            picture, only the files that were written.
        due: the outputs to write: without the outputs that ``resume`` keeps.
        status: ``pending``, ``written``, ``copied`` (see ``only_if``), ``skipped`` (nothing is due)
            or ``failed``.
        amount: how much reflection the network saw, see ``Separation``; None if it did not run.
        seconds: processing time, without waiting.
        error: the reason of a failure, in one line.
        left_out: metadata that the outputs lack, see :func:`~derefl.imaging.files.save_picture`.
    """

    source: Path
    outputs: dict[str, Path] = field(default_factory=dict)
    due: dict[str, Path] = field(default_factory=dict)
    status: Status = "pending"
    amount: float | None = None
    seconds: float = 0.0
    error: str | None = None
    left_out: list[str] = field(default_factory=list)


def plan_folder(
    inputs: Sequence[Path],
    out: Path | None,
    *,
    exclude: str | Sequence[str],
    suffix: str,
    format: str | None,
    reflection: bool,
    compare: bool,
    overwrite: bool,
    resume: bool,
    passed_over: Callable[[Path], object] | None = None,
) -> list[Result]:
    """The pending results of ``dereflect_folder``, after all checks.

    Args:
        passed_over: called with each file that is not a picture.
    """
    found, closed = find_photos(inputs, out, exclude=exclude, passed_over=passed_over)
    named = out is not None and is_named_output(out, inputs, found)
    ending = f".{format}" if format else ""
    results = []
    for source, place in found:
        path = source if out is None else out if named else out / place
        if named and (suffix or (ending and FORMATS[path.suffix.lower()] is not FORMATS[ending])):
            got = f"the suffix {suffix}" if suffix else f"the format {format}"
            raise ConfigError(f"got {got} and the output file {out}; leave one of them out")
        if not named:
            path = path.with_name(f"{path.stem}{suffix}{ending or path.suffix}")
        outputs = {"clean": path}
        if reflection:
            outputs["reflection"] = path.with_name(f"{path.stem}.reflection{path.suffix}")
        if compare:
            outputs["compare"] = path.with_name(f"{path.stem}.compare.png")
        results.append(Result(source, outputs, outputs))
    if suffix:
        results = without_earlier_outputs(results, keep=set(inputs))
    check_clashes(results)
    for result in results:
        if resume:
            keep_current(result)
        for path in result.due.values():
            check_output(path, overwrite=True)
    there = [path for r in results for path in r.outputs.values() if os.path.lexists(path)]
    if there and not (overwrite or resume):
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise OutputExistsError(
            f"{there[0]}{more} already exists; overwrite it, resume to keep finished files, or "
            "choose another output"
        )
    return results + closed


def find_photos(
    inputs: Sequence[Path],
    out: Path | None = None,
    *,
    exclude: str | Sequence[str] = (),
    passed_over: Callable[[Path], object] | None = None,
) -> tuple[list[tuple[Path, Path]], list[Result]]:
    """All photos with their place below ``out``, and a failed result for each closed folder.

    Args:
        passed_over: called with each file that is not a picture.
    """
    closed: list[Result] = []

    def unreadable(error: OSError) -> None:
        reason = f"{error.filename} cannot be searched: {error.strerror}"
        closed.append(Result(Path(error.filename), status="failed", error=reason))

    found = list(
        find_pictures(
            inputs,
            out,
            exclude=exclude,
            follow_links=True,
            unreadable=unreadable,
            passed_over=passed_over,
        )
    )
    for source, _ in found:
        if source.suffix.lower() in VIDEO_SUFFIXES:
            raise ImageError(
                f"{source} is a video, expected a photo; extract frames first, for example: "
                f"ffmpeg -i {source.name} frames/%05d.png"
            )
    return found, closed


def is_named_output(out: Path, inputs: Sequence[Path], found: list[tuple[Path, Path]]) -> bool:
    """Whether ``out`` is the output file of a single photo, not a folder.

    Raises:
        ImageError: ``out`` is a file, but a folder is needed.
    """
    # Path.is_dir raises an OSError for a name that is too long; check_output reports that later.
    if os.path.isdir(out):  # noqa: PTH112
        return False
    if is_picture_name(out) and [source for source, _ in found] == [*inputs][:1]:
        return True
    if os.path.lexists(out):
        raise ImageError(f"{out} is a file, expected a folder; choose another output")
    if is_picture_name(out):
        raise ImageError(
            f"{out} is the name of one picture, expected a folder for all pictures of "
            f"{', '.join(map(str, inputs))}; try {out.with_suffix('')}"
        )
    return False


def without_earlier_outputs(results: list[Result], keep: set[Path]) -> list[Result]:
    """Leave out pictures that an earlier run with the same suffix wrote next to its inputs."""
    made = {
        result.outputs["clean"].with_suffix(ending)
        for result in results
        for ending in ("", ".reflection", ".compare")
    }
    return [r for r in results if r.source in keep or r.source.with_suffix("") not in made]


def check_clashes(results: list[Result]) -> None:
    """Raise ImageError if two pictures have the same output, or an output is another input."""
    sources = {same_file_key(result.source): result for result in results}
    owners: dict[str, tuple[Result, Path]] = {}
    for result in results:
        for kind, path in result.outputs.items():
            key = same_file_key(path)
            other, other_path = owners.setdefault(key, (result, path))
            if other is not result:
                raise ImageError(
                    f"{other.source} and {result.source} would be written to the same file: "
                    f"{' = '.join(dict.fromkeys(map(str, (other_path, path))))}; rename one of "
                    "them, or process them separately into two folders"
                )
            if key in sources and (sources[key] is not result or kind != "clean"):
                raise ImageError(
                    f"{result.source} would be written to {path}, which is an input too; choose "
                    "another output"
                )


def same_file_key(path: Path) -> str:
    """Equal for paths that a disk may treat as the same file: links, upper and lower case."""
    return unicodedata.normalize("NFC", str(real_path(path))).casefold()


def keep_current(result: Result) -> None:
    """Remove outputs from ``due`` that exist and are not older than the input.

    Raises:
        ImageError: the picture would replace its own input.
    """
    for path in result.outputs.values():
        if real_path(path) == real_path(result.source):
            raise ImageError(
                f"{path} is its own input, so resume cannot tell whether it is finished; choose "
                "another output"
            )
    source = result.source
    result.due = {k: path for k, path in result.outputs.items() if not is_current(path, source)}
    result.status = "pending" if result.due else "skipped"


def is_current(path: Path, source: Path) -> bool:
    """Whether a file exists and is not older than its source."""
    try:
        return path.is_file() and path.stat().st_mtime_ns >= source.stat().st_mtime_ns
    except OSError:
        return False
