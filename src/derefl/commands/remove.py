"""``derefl remove``: photos in, photos without reflections out."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from derefl.errors import DereflError, ImageError, OutputExistsError
from derefl.imaging.files import FORMATS, format_for, is_picture_name, open_picture, save_picture
from derefl.imaging.folders import find_pictures

if TYPE_CHECKING:
    from derefl.reflection.pipeline import ReflectionRemover

DESCRIPTION = f"""Remove the reflections from photos taken through glass.

A folder is searched for pictures ({" ".join(FORMATS)}),
its subfolders too, and its tree is kept. A picture that fails is reported at the end, the others
are written all the same; the exit status is then 1.
A picture keeps its size, mode, ICC profile, EXIF and alpha."""

EXAMPLES = """examples:
  derefl remove window.jpg -o clean.jpg
  derefl remove a.jpg b.jpg -o cleaned/
  derefl remove photos/ -o cleaned/ --compare --device cuda
"""


@dataclass(frozen=True)
class Job:
    """One picture: what is read, and what is written."""

    source: Path
    clean: Path
    reflection: Path | None
    compare: Path | None

    @property
    def outputs(self) -> list[Path]:
        """Every file that the job writes."""
        return [path for path in (self.clean, self.reflection, self.compare) if path]


def add_parser(subparsers: Any) -> None:
    """Add ``remove`` and its options."""
    parser = subparsers.add_parser(
        "remove",
        help="remove reflections from photos or folders of photos",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", metavar="INPUT", nargs="+", type=Path, help="photo or folder")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUTPUT",
        required=True,
        type=Path,
        help="a file, if INPUT is one photo and OUTPUT ends like one (.jpg, .png, …); "
        "otherwise a folder, made if missing",
    )
    parser.add_argument(
        "--reflection",
        action="store_true",
        help="also write what was taken away, as NAME.reflection.jpg beside NAME.jpg",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also write input, output and reflection side by side, as NAME.compare.png",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        default="derefl-small",
        help="a name listed by 'derefl models', a .safetensors file, a folder or a Hub repo id "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda", "mps"), default="cpu", help="default: %(default)s"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked, load the model, then go through the pictures."""
    jobs = plan(args.inputs, args.output, args.reflection, args.compare)
    check(jobs, args.overwrite)
    from derefl.reflection.pipeline import load_derefl  # after the checks: torch takes seconds

    model = load_derefl(args.model, device=args.device)
    failures: list[DereflError] = []
    for job in tqdm(jobs, unit="picture", disable=len(jobs) == 1):
        try:
            work(job, model, args.overwrite)
        except DereflError as error:
            failures.append(error)
    if len(jobs) > 1:
        print(f"{len(jobs) - len(failures)} of {len(jobs)} pictures written to {args.output}")
    elif not failures:
        print(f"written: {', '.join(map(str, jobs[0].outputs))}")
    for failure in failures:
        print(f"derefl: {' '.join(str(failure).splitlines())}", file=sys.stderr)
    return 1 if failures else 0


def plan(inputs: list[Path], output: Path, reflection: bool, compare: bool) -> list[Job]:
    """Which file comes from which.

    Raises:
        ImageError: an input is missing, there are no pictures, or OUTPUT is a file.
    """
    to_file = (
        len(inputs) == 1
        and not inputs[0].is_dir()
        and is_picture_name(output)
        and not output.is_dir()
    )
    if not to_file and output.is_file():
        raise ImageError(f"{output} is a file, expected a folder; choose another OUTPUT")
    jobs = []
    for source, place in find_pictures(inputs, leave_out=output):
        clean = output if to_file else output / place
        jobs.append(
            Job(
                source,
                clean,
                clean.with_name(f"{clean.stem}.reflection{clean.suffix}") if reflection else None,
                clean.with_name(f"{clean.stem}.compare.png") if compare else None,
            )
        )
    return jobs


def check(jobs: list[Job], overwrite: bool) -> None:
    """Refuse what would lose somebody's picture.

    Raises:
        ImageError: two inputs have one output, or one's output is another's input.
        OutputExistsError: an output is there and ``overwrite`` is off.
    """
    sources = {job.source.resolve(): job for job in jobs}
    owners: dict[Path, Job] = {}
    for job in jobs:
        for path in job.outputs:
            place = path.resolve()
            if (other := owners.setdefault(place, job)) is not job:
                raise ImageError(
                    f"{other.source} and {job.source} would both be written to {path}; "
                    "rename one, or run them one after the other into two folders"
                )
            if place in sources and (sources[place] is not job or path != job.clean):
                raise ImageError(
                    f"{job.source} would be written to {path}, which is an input too; "
                    "choose another OUTPUT"
                )
    there = [path for path in owners if path.exists()]
    if there and not overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise OutputExistsError(
            f"{there[0]}{more} is there already; add --overwrite, or choose another OUTPUT"
        )


def work(job: Job, model: "ReflectionRemover", overwrite: bool) -> None:
    """Read, separate and write one picture."""
    from derefl.imaging.compare import side_by_side

    image = open_picture(job.source)
    format_for(image, job.clean)  # before the slow part
    try:
        clean, reflection = model.separate(image)
    except ImageError as error:
        raise ImageError(f"{job.source}: {error}") from error
    save_picture(clean, job.clean, overwrite=overwrite)
    if job.reflection:
        save_picture(reflection, job.reflection, overwrite=overwrite)
    if job.compare:
        row = side_by_side({"input": image, "output": clean, "reflection": reflection})
        save_picture(row, job.compare, overwrite=overwrite)
