"""Remove the reflections from files and folders of photos."""

import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derefl.errors import DereflError, PictureTooLargeError, is_out_of_memory
from derefl.files import check_output, write_file
from derefl.imaging.files import check_picture, open_picture, save_picture
from derefl.imaging.formats import FORMATS
from derefl.imaging.opening import MAX_MEGAPIXELS, format_of
from derefl.imaging.sixteen_bit import Picture
from derefl.reflection.plan import Result, plan_folder

if TYPE_CHECKING:
    from derefl.reflection.amount import Separation
    from derefl.reflection.remover import ReflectionRemover


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
        strength, mask: as in ``dereflect``.
        only_if: copy a photo with a smaller ``amount`` of reflection, byte for byte if the format
            stays the same. ``reflection`` and ``compare`` still show the layer that was found.
        reflection: also write the removed layer, as ``NAME.reflection.jpg``.
        compare: also write a sheet with before and after, as ``NAME.compare.png``.
        overwrite: replace existing outputs.
        resume: keep outputs that are not older than their input.
        workers: threads that read and write pictures while the network runs.

    Yields:
        A :class:`~derefl.reflection.plan.Result` for each photo in the order of the inputs, and a
        failed one for each folder that cannot be searched.

    Raises:
        ImageError, ConfigError, OutputError: an input, output or option is refused; nothing was
            written.
    """
    if isinstance(mask, str | Path):
        mask = open_picture(mask)
    model.separate([], strength=strength, mask=mask)  # refuses wrong options now
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
        strength=strength,
        mask=mask,
        only_if=only_if,
        max_megapixels=max_megapixels,
        workers=workers,
    )


def dereflect_planned(
    model: "ReflectionRemover",
    results: list[Result],
    *,
    quality: int | None = None,
    background: str | None = None,
    keep_times: bool = False,
    overwrite: bool = False,
    strength: float = 1.0,
    mask: Picture | None = None,
    only_if: float = 0.0,
    max_megapixels: float = MAX_MEGAPIXELS,
    workers: int = 1,
) -> Generator[Result, None, None]:
    """Process the pending pictures of a plan, and yield all results in order.

    A result without outputs only gets its ``amount``.

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
                separation = model.separate(image, strength=strength, mask=mask)
                result.amount = separation.amount
                if separation.amount < only_if:
                    separation = replace(separation, transmission=image)
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
            name = format_of(result.source) if result.status == "copied" else None
            for kind, path in result.due.items():
                if kind == "clean" and name == FORMATS[path.suffix.lower()].name:
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
