"""The plots of the page of benchmarks: SVG on white, so that they read in dark mode too."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from derefl.commands.bench_report_numbers import (
    PEERS,
    mean_recalls,
    reflection_scores,
    searches,
)
from derefl.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from derefl.zoo import ModelEntry

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "derefl",  # else every run gives other names inside the file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "font.size": 9,
    "lines.markersize": 5,
}
OURS, THEIRS, THIRD, FOURTH, FIFTH = "#00796b", "#555555", "#c25e00", "#3457a6", "#8e3b7a"


def plots(
    entries: "Sequence[ModelEntry]", results: dict[str, Any]
) -> dict[str, Callable[[BinaryIO], None]]:
    """What can be drawn of these results: names of files, and what draws into each."""
    made: dict[str, Callable[[BinaryIO], None]] = {"recall": partial(recall, entries, results)}
    if reflection_scores(entries):
        made["quality"] = partial(quality, entries)
    if "search" in results:
        made["search"] = partial(search, results["search"])
    return made


@contextmanager
def drawn(file: BinaryIO, x: str, y: str) -> "Iterator[Axes]":
    """Axes that are written to a file.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train", "the plot") from error
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.set_axisbelow(True)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        yield axes
        figure.savefig(file, format="svg", metadata={"Date": None})


def quality(entries: "Sequence[ModelEntry]", file: BinaryIO) -> None:
    """PSNR against parameters."""
    ours = reflection_scores(entries)
    left_alone = ours[0][1]["input_psnr"]
    with drawn(file, "parameters, millions", "PSNR on Real20, dB") as axes:
        axes.set_xscale("log")
        points = [(p.name, p.parameters, p.psnr, THEIRS, 3) for p in PEERS if p.parameters]
        for i, (entry, score) in enumerate(ours):
            # Ours lie side by side: one name above its point, the next one below.
            points.append(
                (entry.name, entry.parameters / 1e6, score["psnr"], OURS, (3, -12)[i % 2])
            )
        for name, parameters, psnr, colour, up in points:
            axes.plot(parameters, psnr, "o", color=colour)
            axes.annotate(
                name, (parameters, psnr), (6, up), textcoords="offset points", color=colour
            )
        axes.axhline(left_alone, color=THEIRS, linestyle="--", linewidth=1)
        axes.annotate(
            "photo left as it is",
            (4, left_alone),
            (0, 4),
            textcoords="offset points",
            color=THEIRS,
        )
        axes.set_xlim(3, 100_000)
        axes.set_xticks([10, 100, 1000, 10_000], ["10", "100", "1,000", "10,000"])


def recall(entries: "Sequence[ModelEntry]", results: dict[str, Any], file: BinaryIO) -> None:
    """Mean recall against bits."""
    table = mean_recalls(entries, results.get("recall"))
    colours = (OURS, FOURTH, THIRD, FIFTH, THEIRS)
    with drawn(file, "bits of a code", "mean recall on Flickr8k dev, %") as axes:
        axes.set_xscale("log", base=2)
        lines = {name: of for name, of in table.items() if len(of) > 1}
        for (name, of), colour in zip(lines.items(), colours, strict=False):
            bits = sorted(of)
            style = "o-" if name.startswith("lcdh") else "o--"
            axes.plot(bits, [of[n] for n in bits], style, color=colour, label=name)
        ticks = sorted({n for of in lines.values() for n in of})
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)


def search(part: dict[str, Any], file: BinaryIO) -> None:
    """Milliseconds a query against codes, for the first k, one line for each number of queries."""
    found = searches(part)
    found = [of for of in found if of.k == found[0].k]
    with drawn(file, f"codes of {part['bits']} bits", "ms a query") as axes:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for queries, style in zip(
            sorted({of.queries for of in found}), ("o-", "s--"), strict=False
        ):
            some = [of for of in found if of.queries == queries]
            label = "one query" if queries == 1 else f"{queries} queries at once"
            for name, colour, seconds in (
                ("HashIndex", OURS, [of.seconds for of in some]),
                ("FAISS", THIRD, [of.faiss_seconds for of in some]),
            ):
                points = [
                    (of.codes, 1e3 * s / queries)
                    for of, s in zip(some, seconds, strict=True)
                    if s is not None
                ]
                if points:
                    axes.plot(
                        *zip(*points, strict=True), style, color=colour, label=f"{name}, {label}"
                    )
        axes.legend(frameon=False)
