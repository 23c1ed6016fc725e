"""Pictures with captions: a folder, a csv file and an optional list of pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from derefl.hashing.learning.tables import chosen_pictures, picture_name, read_rows


@dataclass(frozen=True)
class CaptionData:
    """Pictures and their captions.

    Attributes:
        names: of the pictures, without extension.
        paths: of the pictures.
        captions: all captions; the captions of one picture are together.
        rows: int ``[captions]``, for each caption the index of its picture in ``names``.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    captions: tuple[str, ...]
    rows: np.ndarray


def read_captions(
    images: str | Path, captions: str | Path, split: str | Path | None = None
) -> CaptionData:
    """Find the pictures of a captions file.

    Args:
        images: folder of the pictures, subfolders included.
        captions: csv file with the columns ``image`` (path below ``images``, with or without
            extension) and ``caption``, one caption per row.
        split: text file with one image name per line, in the order to use; None: all pictures of
            the captions file, in the order of their first captions.

    Raises:
        DataError: a folder, file or column is missing; a selected picture has no file or no
            caption; two files have the same name.
    """
    images, captions = Path(images), Path(captions)
    texts: dict[str, list[str]] = {}
    for row in read_rows(captions, ("image", "caption")):
        texts.setdefault(picture_name(row["image"]), []).append(row["caption"])
    names, paths = chosen_pictures(texts, captions, images, split)
    return CaptionData(
        names=names,
        paths=paths,
        captions=tuple(text for name in names for text in texts[name]),
        rows=np.repeat(np.arange(len(names)), [len(texts[name]) for name in names]),
    )
