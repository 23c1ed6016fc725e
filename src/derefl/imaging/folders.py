"""The pictures among what a user names on the command line."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from derefl.errors import ImageError
from derefl.imaging.files import FORMATS, is_picture_name


def find_pictures(
    inputs: Iterable[Path], leave_out: Path | None = None
) -> Iterator[tuple[Path, Path]]:
    """Every picture, and its path relative to the input that it was found in.

    A folder is searched with its subfolders; what is hidden, files and folders, is passed over.

    Args:
        inputs: files, taken whatever their name, and folders, where the suffix decides.
        leave_out: a folder whose pictures do not count where it lies in an input, because an
            earlier run wrote them.

    Raises:
        ImageError: an input does not exist, or is a folder without pictures.
    """
    for entry in inputs:
        if not entry.exists():
            raise ImageError(f"{entry}: there is no such file or folder; check the spelling")
        if not entry.is_dir():
            yield entry, Path(entry.name)
            continue
        earlier = leave_out.resolve() if leave_out is not None else None
        if earlier is not None and entry.resolve() not in earlier.parents:
            earlier = None
        found = [
            path
            for path in sorted(entry.rglob("*"))
            if is_picture_name(path)
            and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(entry).parts)
            and (earlier is None or not path.parent.resolve().is_relative_to(earlier))
        ]
        if not found:
            raise ImageError(
                f"{entry} has no pictures, expected files ending in {', '.join(FORMATS)}; "
                "name another folder"
            )
        yield from ((path, path.relative_to(entry)) for path in found)
