"""Evaluation of a hasher on captioned or labelled pictures, next to random codes and baselines.

The database is always *hashed*: its codes come from pictures or texts alone, as in practice.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from derefl.errors import ConfigError
from derefl.hashing.codes import BITS, prefix
from derefl.hashing.learning.baselines import BASELINES, random_codes
from derefl.hashing.learning.captions import CaptionData
from derefl.hashing.learning.labelled import LabelledData, split_queries
from derefl.hashing.learning.ranking import label_report
from derefl.hashing.learning.recall import TIE_RULE, caption_recall, recall_summary, standing

if TYPE_CHECKING:
    from derefl.hashing.hasher import Hasher

DATABASE = "hashed from the pictures or texts alone"

Features = tuple[np.ndarray, np.ndarray]
"""Unit vectors of pictures and texts, float ``[n d]`` and ``[m d]``."""


def evaluate_captions(
    hasher: "Hasher",
    data: CaptionData,
    *,
    bits: Sequence[int] = BITS,
    baselines: bool = False,
    train: CaptionData | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Recall of pictures by captions and of captions by pictures.

    Args:
        hasher: its codes must have at least the longest of ``bits``; shorter codes are prefixes, so
            that each picture and text is encoded once.
        data: queries and database.
        bits: code lengths to report.
        baselines: also evaluate LSH, ITQ and CCA + ITQ on the hasher's float features.
        train: pairs to fit the baselines on; None: ``data`` itself, an advantage for the baselines.
        seed: of random codes and baselines.
        progress: show progress bars.

    Returns:
        ``n_images``; ``n_texts``; ``codes`` by length; ``float``, by cosine of the real-valued
        features; ``baselines`` by name and length, always with ``random``, and without lengths
        above the width of the features. Each is a result of
        :func:`~derefl.hashing.learning.recall.caption_recall`.

    Raises:
        ConfigError: a length above the length of the hasher's codes.
        ImageError: a picture cannot be read.
    """

    def pairs(own: Features) -> Features:
        images, texts = features_of(hasher, train.paths, train.captions, progress) if train else own
        return images[(train or data).rows], texts

    scores = compare(
        hasher,
        data.paths,
        data.captions,
        lambda images, texts: caption_recall(images, texts, data.rows),
        pairs if baselines else None,
        (bits, seed, progress),
    )
    return {"n_images": len(data.paths), "n_texts": len(data.captions), **scores}


def evaluate_labels(
    hasher: "Hasher",
    data: LabelledData,
    *,
    bits: Sequence[int] = BITS,
    queries: int | None = None,
    baselines: bool = False,
    train: LabelledData | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Average precision and curves; items that share a label are relevant.

    Args and errors are as in :func:`evaluate_captions`; ``queries`` pictures are queries (None: a
    tenth), the others are the database, and the baselines are fitted on the database by default.

    Returns:
        The protocol (``n_queries``, ``n_database``, ``seed``, ``tie_rule``, ``database``), and
        ``codes``, ``float`` and ``baselines`` as in :func:`evaluate_captions`, with a
        :func:`~derefl.hashing.learning.ranking.label_report` for each direction.
    """
    asking, asked = split_queries(len(data.paths), queries, seed)
    labels = data.labels[asking], data.labels[asked]

    def measure(images: np.ndarray, texts: np.ndarray) -> dict[str, Any]:
        return {
            "text_to_image": label_report(texts[asking], images[asked], *labels),
            "image_to_text": label_report(images[asking], texts[asked], *labels),
        }

    def pairs(own: Features) -> Features:
        if train:
            return features_of(hasher, train.paths, train.texts, progress)
        return own[0][asked], own[1][asked]

    options = bits, seed, progress
    return {
        "n_queries": len(asking),
        "n_database": len(asked),
        "seed": seed,
        "tie_rule": TIE_RULE,
        "database": DATABASE,
        **compare(hasher, data.paths, data.texts, measure, pairs if baselines else None, options),
    }


def evaluate_names(
    hasher: "Hasher",
    paths: Sequence[Any],
    texts: Sequence[str],
    *,
    bits: Sequence[int] = BITS,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Recall of pictures by their class names, and of class names by pictures.

    ``texts`` are the class names of the pictures; each distinct name is one query. The other
    arguments, errors and the result are as in :func:`evaluate_captions`.
    """
    names, of = np.unique(np.array(texts), return_inverse=True)
    numbers = np.arange(len(names))

    def measure(images: np.ndarray, texts: np.ndarray) -> dict[str, Any]:
        return {
            "text_to_image": recall_summary(standing(texts, images, numbers, of)),
            "image_to_text": recall_summary(standing(images, texts, of, numbers)),
        }

    scores = compare(hasher, paths, names.tolist(), measure, None, (bits, seed, progress))
    return {"n_images": len(paths), "n_texts": len(names), **scores}


def compare(
    hasher: "Hasher",
    paths: Sequence[Any],
    texts: Sequence[str],
    measure: Callable[[np.ndarray, np.ndarray], dict[str, Any]],
    pairs: Callable[[Features], Features] | None,
    options: tuple[Sequence[int], int, bool],
) -> dict[str, Any]:
    """``codes``, ``float`` and ``baselines`` by one measure of pictures against texts.

    Args:
        hasher, paths, texts: see :func:`evaluate_names`.
        measure: takes codes or features of pictures and of texts.
        pairs: makes the pairs to fit the baselines on from the features of ``paths`` and ``texts``.
        options: bits, seed and progress.
    """
    bits, seed, progress = options
    if not bits or max(bits) > hasher.bits or not set(bits) <= set(BITS):
        raise ConfigError(
            f"got code lengths {', '.join(map(str, bits)) or '(none)'} for a model of "
            f"{hasher.bits} bits, expected some of {', '.join(map(str, BITS))} up to that; load it "
            f"with bits={max(BITS)}"
        )
    features = features_of(hasher, paths, texts, progress)
    longest = (
        hasher.encode_image(list(paths), progress=progress),
        hasher.encode_text(list(texts), progress=progress),
    )
    codes = {str(k): measure(*(prefix(code, k) for code in longest)) for k in bits}
    others: dict[str, dict[str, Any]] = {"random": {}}
    for k in bits:
        drawn = random_codes(len(paths), k, seed), random_codes(len(texts), k, seed + 1)
        others["random"][str(k)] = measure(*drawn)
    if pairs is not None:
        images, captions = pairs(features)
        for name, fit in BASELINES.items():
            # ITQ and CCA have at most as many directions as features.
            reach = max(bits) if name == "lsh" else images.shape[1]
            others[name] = {}
            for k in (k for k in bits if k <= reach):
                fitted = fit(images, captions, k, seed)
                others[name][str(k)] = measure(
                    fitted.encode_image(features[0]), fitted.encode_text(features[1])
                )
    return {"codes": codes, "float": measure(*features), "baselines": others}


def features_of(
    hasher: "Hasher", paths: Sequence[Any], texts: Sequence[str], progress: bool
) -> Features:
    """The hasher's float features."""
    return (
        hasher.image_features(list(paths), progress=progress),
        hasher.text_features(list(texts), progress=progress),
    )
