"""Csv files about pictures, split files, and their pictures."""

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from derefl.errors import DataError
from derefl.imaging.formats import FORMATS, is_picture_name


def picture_name(text: str) -> str:
    """A picture's name without its extension: ``a.b.jpg`` and ``a.b`` are both ``a.b``."""
    name = PurePosixPath(text.strip())
    return str(name.with_suffix("") if name.suffix.lower() in FORMATS else name)


def pictures_by_name(folder: Path) -> dict[str, Path]:
    """Every picture below ``folder`` by its relative path without the extension."""
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
    """The rows of a UTF-8 csv file with a header line, plain or ``.gz``, as text by column.

    Raises:
        DataError: the file cannot be read, one of ``columns`` is missing, there are no rows, or a
            row does not fit the header.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            if missing := [name for name in columns if name not in header]:
                raise DataError(
                    f"{path} has the columns {', '.join(header) or '(none)'}, expected also "
                    f"{missing[0]!r}; the first line must name the columns"
                )
            rows = []
            for row in reader:
                # DictReader stores extra fields under the key None, and None for missing fields.
                if None in row or None in row.values():
                    raise DataError(
                        f"{path}, line {reader.line_num}: expected one field for each column of "
                        'the header; put texts with commas between double quotes: "a dog, running"'
                    )
                rows.append(row)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}), expected a csv file in UTF-8") from error
    if not rows:
        raise DataError(f"{path} has no row below its header, expected one for each text")
    return rows


def chosen_pictures(
    rows: Collection[str], table: Path, images: Path, split: str | Path | None
) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Names and paths of the pictures in ``rows``, or in the split file, in its order.

    Raises:
        DataError: the split cannot be read, is empty or names a picture twice; a picture has no
            row or no file.
    """
    names = list(rows)
    if split is not None:
        try:
            lines = Path(split).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{split} cannot be read ({error}), expected a text file with one image name per "
                "line"
            ) from error
        names = [picture_name(line) for line in lines if line.strip()]
        if not names:
            raise DataError(f"{split} is empty, expected one image name per line")
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"{split} names {twice[0]!r} twice; remove one of the lines")
    pictures = pictures_by_name(images)
    for known, what in ((rows, f"row in {table}"), (pictures, f"picture in {images}")):
        if absent := [name for name in names if name not in known]:
            raise DataError(
                f"{len(absent)} of {len(names)} names have no {what}, the first is {absent[0]!r}; "
                "add it, or leave the name out with a split file"
            )
    return tuple(names), tuple(pictures[name] for name in names)
