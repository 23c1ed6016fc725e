"""Csv files about pictures, split files, and their pictures."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from derefl.errors import DataError
from derefl.imaging.formats import FORMATS, is_picture_name


def picture_name(text: str) -> str:
    """A picture's name without its extension: ``a.b.jpg`` and ``a.b`` are both ``a.b``."""
    name = PurePosixPath(text.strip())
    return str(name.with_suffix("") if name.suffix.lower() in FORMATS else name)


def find_pictures(folder: Path) -> dict[str, Path]:
    """Every picture below ``folder`` by its relative path without the extension.

    Raises:
        DataError: no such folder, no pictures, or two files that differ only in the extension.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the one that holds the pictures")
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("*") if is_picture_name(p)):
        name = picture_name(path.relative_to(folder).as_posix())
        if (other := found.setdefault(name, path)) is not path:
            raise DataError(
                f"{folder}: {other.name} and {path.name} are both the picture {name!r}; remove one"
            )
    if not found:
        raise DataError(
            f"{folder} holds no picture, expected files ending in {', '.join(FORMATS)}; "
            "name another folder"
        )
    return found


def read_rows(path: Path, columns: Iterable[str] = ()) -> list[dict[str, str]]:
    """The rows of a csv file with a header line, as text by column.

    Args:
        path: the file, UTF-8.
        columns: required columns; others are allowed.

    Raises:
        DataError: the file cannot be read, a column is missing, there are no rows, or a row does
            not fit the header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            if missing := [name for name in columns if name not in header]:
                raise DataError(
                    f"{path} has the columns {', '.join(header) or '(none)'}, but none called "
                    f"{missing[0]!r}; its first line has to name the columns"
                )
            rows = list(checked(reader, path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read ({error}); expected a csv file in UTF-8, check the name"
        ) from error
    if not rows:
        raise DataError(f"{path} has no row below its header; expected one for each text")
    return rows


def checked(reader: "csv.DictReader[str]", path: Path) -> Iterator[dict[str, str]]:
    """The rows; an error for a row whose number of fields differs from the header."""
    for row in reader:
        # DictReader stores extra fields under the key None, and None for missing fields.
        if None in row or None in row.values():
            raise DataError(
                f"{path}, line {reader.line_num}: another number of fields than the header's; "
                'put texts that hold commas between double quotes: "a dog, running"'
            )
        yield row


def read_split(path: Path) -> list[str]:
    """The picture names of a split file, one per line, in its order.

    Raises:
        DataError: the file cannot be read, is empty, or names a picture twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); expected a text file with one image name a line"
        ) from error
    names = [picture_name(line) for line in lines if line.strip()]
    if not names:
        raise DataError(f"{path} is empty; expected one image name a line")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path} names {name!r} twice; remove one of the lines")
        seen.add(name)
    return names


def paths_of(names: Iterable[str], pictures: Mapping[str, Path], folder: Path) -> tuple[Path, ...]:
    """The paths of the pictures with these names.

    Raises:
        DataError: a picture does not exist.
    """
    names = list(names)
    if missing := [name for name in names if name not in pictures]:
        raise DataError(
            f"{folder} has no picture for {len(missing)} of {len(names)} names, the first is "
            f"{missing[0]!r}; add it, or leave it out with a split file"
        )
    return tuple(pictures[name] for name in names)
