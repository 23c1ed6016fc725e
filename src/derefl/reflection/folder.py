"""Remove the reflections from files and folders of photos."""

import os
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from derefl.errors import (
    ConfigError,
    DereflError,
    ImageError,
    OutputExistsError,
    PictureTooLargeError,
    is_out_of_memory,
)
from derefl.files import check_output, write_file
from derefl.imaging.files import check_picture, open_picture, save_picture
from derefl.imaging.folders import find_pictures, real_path
from derefl.imaging.formats import FORMATS, VIDEO_SUFFIXES, is_picture_name
from derefl.imaging.opening import MAX_MEGAPIXELS
from derefl.imaging.sixteen_bit import Picture

if TYPE_CHECKING:
    from derefl.reflection.remover import ReflectionRemover, Separation

Status = Literal["pending", "written", "copied", "skipped", "failed"]


@dataclass
class Result:
    """One picture of :func:`dereflect_folder`.

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


def dereflect_folder(
    model: "ReflectionRemover",
    inputs: str | Path | Sequence[str | Path],
    out: str | Path | None,
    *,
    exclude: str | Sequence[str] = (),
    suffix: str = "",
    format: str | None = None,
    quality: int | None = None,
    background: str | None = None,
    keep_times: bool = False,
    reflection: bool = False,
    compare: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    detail: str = "auto",
    strength: float = 1.0,
    mask: str | Path | Picture | None = None,
    only_if: float = 0.0,
    max_megapixels: float = MAX_MEGAPIXELS,
    workers: int = 1,
) -> Iterator[Result]:
    """Remove the reflections from photos and folders of photos, as ``derefl remove`` does.

    The call checks all inputs and outputs. The photos are then processed while you iterate. A photo
    that fails does not stop the others.

    Args:
        model: a model from :func:`~derefl.reflection.remover.load_derefl`.
        inputs: one or several photos, folders with subfolders, or patterns ("photos/**/*.jpg").
        out: a folder, which gets the tree of the inputs; the output file, if there is only one
            photo; None writes next to each input.
        exclude: as in :func:`~derefl.imaging.folders.find_pictures`.
        suffix: text before the ending of each output name, for example ``.clean``.
        format: ``jpg``, ``png``, ``webp``, ``tif``, ``avif`` or ``heic``; None keeps the format.
        quality, background, max_megapixels: as in ``save_picture`` and ``open_picture``.
        keep_times: give the outputs the modification time of their input.
        detail, strength, mask: as in ``dereflect``.
        only_if: copy a photo with a smaller ``amount`` of reflection, byte for byte if the format
            stays the same. ``reflection`` and ``compare`` still show the layer that was found.
        reflection: also write the removed layer, as ``NAME.reflection.jpg``.
        compare: also write a sheet with before and after, as ``NAME.compare.png``.
        overwrite: replace existing outputs.
        resume: keep outputs that are not older than their input.
        workers: threads that read and write pictures while the network runs.

    Yields:
        A :class:`Result` for each photo in the order of the inputs, and a failed one for each
        folder that cannot be searched.

    Raises:
        ImageError, ConfigError, OutputError: an input or output is refused; nothing was written.
    """
    results = plan_folder(
        [Path(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)],
        None if out is None else Path(out),
        exclude=exclude,
        suffix=suffix,
        format=format,
        reflection=reflection,
        compare=compare,
        overwrite=overwrite,
        resume=resume,
    )
    return dereflect_planned(
        model,
        results,
        quality=quality,
        background=background,
        keep_times=keep_times,
        overwrite=overwrite or resume,
        detail=detail,
        strength=strength,
        mask=open_picture(mask) if isinstance(mask, str | Path) else mask,
        only_if=only_if,
        max_megapixels=max_megapixels,
        workers=workers,
    )


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
    """The pending results of :func:`dereflect_folder`, after all checks.

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


def dereflect_planned(
    model: "ReflectionRemover",
    results: list[Result],
    *,
    quality: int | None = None,
    background: str | None = None,
    keep_times: bool = False,
    overwrite: bool = False,
    detail: str = "auto",
    strength: float = 1.0,
    mask: Picture | None = None,
    only_if: float = 0.0,
    max_megapixels: float = MAX_MEGAPIXELS,
    workers: int = 1,
) -> Generator[Result, None, None]:
    """Process the pending pictures of :func:`plan_folder`, and yield all results in order.

    A result without outputs gets its ``amount`` only.

    The network runs in this thread, one picture at a time. To limit memory, at most ``workers``
    pictures are read ahead, and at most as many wait to be written. After Ctrl-C, pictures that
    the network has finished are still written.
    """

    def read(result: Result) -> tuple[Result, Picture | None]:
        with recorded(result):
            if result.status == "pending":
                image = open_picture(result.source, max_megapixels=max_megapixels)
                for kind, path in result.due.items():
                    if kind != "compare":
                        check_picture(image, path, background)  # before the slow part
                return result, image
        return result, None

    def remove(result: Result, image: Picture | None) -> "Future[Result]":
        with recorded(result):
            if image is not None:
                separation = model.separate(image, detail=detail, strength=strength, mask=mask)
                result.amount = separation.amount
                if separation.amount < only_if:
                    separation = separation._replace(transmission=image)
                    result.status = "copied"
                # The pictures may wait in memory: keep the input only for the sheet.
                before = image if "compare" in result.due else None
                return pool.submit(write, result, separation, before)
        return pool.submit(lambda: result)

    def write(result: Result, separation: "Separation", before: Picture | None) -> Result:
        written = {}
        with recorded(result):
            parts = {"clean": separation.transmission, "reflection": separation.reflection}
            if before is not None:
                from derefl.imaging.compare import side_by_side  # imports torch

                row = {"before": before, "after": parts["clean"], "reflection": parts["reflection"]}
                parts["compare"] = side_by_side(row)
            options: Any = {"overwrite": overwrite, "quality": quality, "background": background}
            times = result.source.stat() if keep_times else None  # before an output replaces it
            copy = result.status == "copied" and same_format(result.source, result.outputs["clean"])
            for kind, path in result.due.items():
                if copy and kind == "clean":
                    check_output(path, overwrite)
                    write_file(path, result.source.read_bytes())
                    lost = []
                else:
                    lost = save_picture(parts[kind], path, **options)
                if times:
                    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
                result.left_out += [part for part in lost if part not in result.left_out]
                written[kind] = path
            if result.status == "pending":
                result.status = "written"
        if result.error:
            result.outputs = written
        return result

    waiting = iter(results)
    with ThreadPoolExecutor(workers) as pool:
        reads = deque(pool.submit(read, result) for result in islice(waiting, workers))
        writes: deque[Future[Result]] = deque()
        try:
            while reads:
                ready = reads.popleft().result()
                reads.extend(pool.submit(read, result) for result in islice(waiting, 1))
                while writes and (len(writes) == workers or writes[0].done()):
                    yield writes.popleft().result()
                writes.append(remove(*ready))
                del ready  # free memory
            while writes:
                yield writes.popleft().result()
        finally:
            for future in reads:
                future.cancel()


@contextmanager
def recorded(result: Result) -> Iterator[None]:
    """Add the time of the block to a result. An error is stored and affects this picture only."""
    start = time.perf_counter()
    try:
        yield
    except Exception as error:
        result.error, result.outputs, result.status = reason(result.source, error), {}, "failed"
    finally:
        result.seconds += time.perf_counter() - start


def reason(source: Path, error: Exception) -> str:
    """One line with the picture and its error."""
    if is_out_of_memory(error):
        text = "not enough memory; make the picture smaller, or close other programs"
    elif isinstance(error, DereflError):
        text = " ".join(str(error).splitlines())
        if isinstance(error, PictureTooLargeError):
            text += f", or set max_megapixels to {error.megapixels}"
    elif isinstance(error, OSError):
        text = str(error)
    else:
        text = f"unexpected {type(error).__name__}: {' '.join(str(error).splitlines())}"
    return text if text.startswith((f"{source} ", f"{source}:")) else f"{source}: {text}"


def same_format(a: Path, b: Path) -> bool:
    """Whether two names have endings of the same format."""
    return FORMATS.get(a.suffix.lower()) is FORMATS.get(b.suffix.lower())
