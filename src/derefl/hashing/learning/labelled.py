"""Pictures with a text and labels; items that share a label are relevant."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from derefl.errors import ConfigError, DataError
from derefl.hashing.learning.tables import (
    find_pictures,
    paths_of,
    picture_name,
    read_rows,
    read_split,
)

TEXT_COLUMNS = ("caption", "text", "tags")
LABEL_COLUMNS = ("labels", "theme")


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
    text = column(first, TEXT_COLUMNS, labels)
    label = column(first, LABEL_COLUMNS, labels)
    names = read_split(Path(split)) if split is not None else list(rows)
    if unknown := [name for name in names if name not in rows]:
        raise DataError(
            f"{labels} has no row for {len(unknown)} of the {len(names)} pictures of {split}, the "
            f"first is {unknown[0]!r}; add one, or take the name out of the split"
        )
    # Classes come from the whole file, so that all its splits have the same columns.
    sets = dict(zip(rows, label_sets([row[label] for row in rows.values()], label), strict=True))
    if bare := [name for name in names if not sets[name]]:
        raise DataError(
            f"{labels}: {bare[0]!r} has nothing in the column {label!r}; label it or drop its row"
        )
    classes = sorted(set().union(*sets.values()))
    number = {word: index for index, word in enumerate(classes)}
    membership = np.zeros((len(names), len(classes)), dtype=bool)
    for index, name in enumerate(names):
        membership[index, [number[word] for word in sets[name]]] = True
    return LabelledData(
        names=tuple(names),
        paths=paths_of(names, find_pictures(images), images),
        texts=tuple(rows[name][text] for name in names),
        labels=membership,
        classes=tuple(classes),
        themes=tuple(rows[name]["theme"].strip() for name in names) if "theme" in first else None,
    )


def column(row: dict[str, str], known: tuple[str, ...], path: Path) -> str:
    """The first of the known columns in the file."""
    for name in known:
        if name in row:
            return name
    raise DataError(
        f"{path} has the columns {', '.join(row)}, expected one of {', '.join(known)}; rename it"
    )


def label_sets(cells: list[str], name: str) -> list[set[str]]:
    """The labels in each cell; a cell of ``theme`` is one label, spaces included."""
    if name == "theme":
        return [{cell.strip()} - {""} for cell in cells]
    separator = ";" if any(";" in cell for cell in cells) else None
    return [{word.strip() for word in cell.split(separator)} - {""} for cell in cells]


def split_queries(n: int, queries: int | None = None, seed: int = 0) -> QuerySplit:
    """Draw the queries; equal arguments give equal splits on every machine.

    Args:
        n: number of items.
        queries: number of queries; None: a tenth.
        seed: of the draw; reports must state the seed.

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
