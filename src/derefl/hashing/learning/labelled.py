"""Pictures with a text and labels; items that share a label are relevant."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from derefl.errors import ConfigError, DataError
from derefl.hashing.learning.tables import chosen_pictures, picture_name, read_rows


@dataclass(frozen=True)
class LabelledData:
    """Pictures with one text and at least one label each.

    Attributes:
        names: of the pictures, without extension.
        paths: of the pictures.
        texts: one per picture.
        labels: bool ``[n classes]``.
        classes: names of the labels, sorted.
        themes: one class per picture, for streams that come class by class; None if the file has
            no column ``theme``.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    texts: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    themes: tuple[str, ...] | None


class QuerySplit(NamedTuple):
    """Numbers of the queries and of the database items: disjoint, together all items."""

    queries: np.ndarray
    database: np.ndarray


def read_labelled(
    images: str | Path, labels: str | Path, split: str | Path | None = None
) -> LabelledData:
    """Find the pictures of a file of labels.

    Args:
        images: folder of the pictures, subfolders included.
        labels: csv file, one picture per row: ``image`` (with or without extension); a text in the
            first existing column of ``caption``, ``text``, ``tags``; labels in ``labels``
            (separated by semicolons if the column has any, else by spaces) or one label in
            ``theme``. With both, ``labels`` defines relevance and ``theme`` orders streams.
        split: text file with one image name per line, in the order to use; None: all rows.

    Raises:
        DataError: a folder, file or column is missing; a picture has no file, no label or two
            rows; two files have the same name.
    """
    images, labels = Path(images), Path(labels)
    rows: dict[str, dict[str, str]] = {}
    for row in read_rows(labels, ("image",)):
        name = picture_name(row["image"])
        if name in rows:
            raise DataError(f"{labels} has two rows for {name!r}; leave one, with all its labels")
        rows[name] = row
    first = next(iter(rows.values()))
    columns = []
    for known in (("caption", "text", "tags"), ("labels", "theme")):
        columns.append(next((name for name in known if name in first), ""))
        if not columns[-1]:
            raise DataError(
                f"{labels} has the columns {', '.join(first)}, expected one of {', '.join(known)}"
            )
    text, label = columns
    names, paths = chosen_pictures(rows, labels, images, split)
    # Classes come from the whole file, so that all its splits have the same columns.
    cells = {name: row[label].strip() for name, row in rows.items()}
    separator = ";" if any(";" in cell for cell in cells.values()) else None
    sets = {
        name: {cell} - {""}
        if label == "theme"
        else {word.strip() for word in cell.split(separator)} - {""}
        for name, cell in cells.items()
    }
    if bare := [name for name in names if not sets[name]]:
        raise DataError(
            f"{labels}: {bare[0]!r} has nothing in the column {label!r}; add a label or remove the "
            "row"
        )
    classes = sorted(set().union(*sets.values()))
    return LabelledData(
        names=names,
        paths=paths,
        texts=tuple(rows[name][text] for name in names),
        labels=np.array([[word in sets[name] for word in classes] for name in names], bool),
        classes=tuple(classes),
        themes=tuple(rows[name]["theme"].strip() for name in names) if "theme" in first else None,
    )


def split_queries(n: int, queries: int | None = None, seed: int = 0) -> QuerySplit:
    """Draw the queries (None: a tenth); equal arguments give equal splits on every machine.

    Raises:
        ConfigError: no queries, or no items left to search.
    """
    queries = n // 10 if queries is None else queries
    if not 0 < queries < n:
        raise ConfigError(
            f"got {queries} queries of {n} items, expected at least one, and one left to search "
            "in; set --queries"
        )
    order = np.random.default_rng(seed).permutation(n)
    return QuerySplit(np.sort(order[:queries]), np.sort(order[queries:]))
