"""The online protocol: pairs come in chunks, and the search is evaluated after each chunk.

As in LEMON (Wang et al., ACM MM 2020) and DOCH: some queries are drawn and held back, the rest
comes in chunks. After each round, mAP@all is measured against all pairs so far. There are two
conventions for the database; both are reported because their results differ a lot:

- ``hashed``: each picture (for text queries) or text (for picture queries) was hashed once, by the
  student of its round, and its code never changes, as in a user's index;
- ``learned``: each pair has the code that the learner gave it in its round, from picture, text and
  labels together, as in online papers. The items in this database were labelled before the search.

Queries are always hashed by the current student. A query without relevant items so far (its class
has not come yet) does not count in the round's mean.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from derefl.errors import ConfigError, needs
from derefl.files import atomic_file, check_output
from derefl.hashing.learning.ranking import average_precisions
from derefl.hashing.learning.streams import Stream
from derefl.training.log import peak_memory_mb

DIRECTIONS = ("text_to_image", "image_to_text")


class Student(Protocol):
    """Encodes pictures and texts separately."""

    def encode_image(self, images: Any) -> np.ndarray:
        """Packed codes uint8 ``[n bits/8]``."""

    def encode_text(self, texts: Any) -> np.ndarray:
        """Packed codes uint8 ``[n bits/8]``."""


class Learner(Protocol):
    """Learns from the stream; for example an ``OnlineHasher``."""

    @property
    def student(self) -> Student:
        """The current student."""

    def partial_fit(self, images: Any, texts: Any, labels: Any = None) -> dict[str, float]:
        """Learn from a chunk of pairs; returns losses by name."""

    def database_codes(self, images: Any, texts: Any, labels: Any = None) -> np.ndarray:
        """Learned codes of a chunk's pairs, packed uint8 ``[n bits/8]``."""


@dataclass(frozen=True)
class Round:
    """The report after a chunk.

    Attributes:
        number: from 1.
        seen: pairs so far.
        queries: number of queries with relevant items.
        hashed, learned: mAP@all by direction for either database, 0 to 1; None without a query.
        seconds: to learn from the chunk and encode it, without the evaluation.
        peak_memory_mb: peak memory of the process so far; None if unknown.
        losses: of the learner.
    """

    number: int
    seen: int
    queries: int
    hashed: dict[str, float | None]
    learned: dict[str, float | None]
    seconds: float
    peak_memory_mb: float | None
    losses: dict[str, float]


def run_stream(learner: Learner, stream: Stream) -> Iterator[Round]:
    """Feed the chunks to the learner, and yield a report after each."""
    databases: dict[str, list[np.ndarray]] = {"image": [], "text": [], "pair": []}
    labels: list[np.ndarray] = []
    for number, (images, texts, chunk_labels) in enumerate(stream.chunks, start=1):
        shown = chunk_labels if stream.labels_known else None
        start = time.perf_counter()
        losses = learner.partial_fit(images, texts, shown)
        databases["image"].append(learner.student.encode_image(images))
        databases["text"].append(learner.student.encode_text(texts))
        databases["pair"].append(learner.database_codes(images, texts, shown))
        seconds = time.perf_counter() - start
        labels.append(chunk_labels)
        seen = np.concatenate(labels)
        image, text, pair = (np.concatenate(codes) for codes in databases.values())
        asking = {
            "text_to_image": learner.student.encode_text(stream.queries.texts),
            "image_to_text": learner.student.encode_image(stream.queries.images),
        }
        precision = {
            kind: {
                direction: average_precisions(asking[direction], items, stream.queries.labels, seen)
                for direction, items in zip(DIRECTIONS, database, strict=True)
            }
            for kind, database in {"hashed": (image, text), "learned": (pair, pair)}.items()
        }
        yield Round(
            number=number,
            seen=len(seen),
            queries=int((~np.isnan(precision["hashed"]["text_to_image"])).sum()),
            **{kind: {d: mean(ap) for d, ap in of.items()} for kind, of in precision.items()},
            seconds=seconds,
            peak_memory_mb=peak_memory_mb(),
            losses=losses,
        )


def mean(precision: np.ndarray) -> float | None:
    """Mean of the values that are not NaN; None if there are none."""
    counted = precision[~np.isnan(precision)]
    return float(counted.mean()) if len(counted) else None


def check_plot(path: str | Path, overwrite: bool = False) -> None:
    """Refuse a plot that cannot be written: MissingExtraError, ConfigError or OutputError."""
    with needs("matplotlib", "train", "plotting"):
        from matplotlib.figure import Figure
    known = Figure().canvas.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in known:
        raise ConfigError(
            f"{path} cannot be a plot; name it like plot.png, with one of {', '.join(known)}"
        )
    check_output(path, overwrite)


def plot_rounds(rounds: Sequence[Round], path: str | Path, title: str = "") -> None:
    """Draw mAP, seconds and memory over the number of pairs; errors as in :func:`check_plot`."""
    check_plot(path, overwrite=True)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    precision, cost = figure.subplots(1, 2)
    seen = [r.seen for r in rounds]
    for kind, style in (("hashed", "-"), ("learned", "--")):
        for direction, colour in zip(DIRECTIONS, ("C0", "C1"), strict=True):
            values = [getattr(r, kind)[direction] for r in rounds]
            label = f"{direction.replace('_to_', '→')}, {kind} database"
            y = [np.nan if value is None else value for value in values]
            precision.plot(seen, y, style, color=colour, marker="o", label=label)
    precision.set(xlabel="pairs seen", ylabel="mAP@all so far", ylim=(0, None))
    precision.legend(fontsize="small")
    cost.plot(seen, [r.seconds for r in rounds], "C2", marker="o")
    cost.set(xlabel="pairs seen", ylabel="seconds a chunk", ylim=(0, None))
    memory = cost.twinx()
    memory.plot(seen, [r.peak_memory_mb or np.nan for r in rounds], "C3:", marker="s")
    memory.set_ylabel("peak memory, MB (dotted)")
    memory.set_ylim(0, None)
    figure.suptitle(title)
    with atomic_file(path) as file:
        figure.savefig(file, format=Path(path).suffix[1:], dpi=120)
