"""What the page of benchmarks and its plots have in common: peers, and the numbers they show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from derefl.zoo import ModelEntry

PROTOCOL = "resize32"
"""The protocol of the peers' scores on Real20: there the photo left as it is has their 19.23 dB."""

SOURCES = "as the papers of RDNet and WindowSeat have them in their tables"


@dataclass(frozen=True)
class Peer:
    """Another method.

    Attributes:
        name: the method's.
        psnr: on Real20, in dB.
        ssim: on Real20.
        parameters: in millions; None where nobody says.
        gflops: of a picture, where its authors count it; None where nobody says.
    """

    name: str
    psnr: float
    ssim: float
    parameters: float | None = None
    gflops: float | None = None


PEERS = (
    Peer("IBCLN", 21.86, 0.762),
    Peer("ERRNet", 22.89, 0.803, 163, 359),
    Peer("YTMT", 23.26, 0.806),
    Peer("DSRNet", 23.91, 0.818, 350, 144),
    Peer("DeRefl, the paper (v1)", 25.12, 0.828),
    Peer("DSIT", 25.22, 0.836, 327, 233),
    Peer("RDNet", 25.58, 0.846, 316, 184),
    Peer("WindowSeat", 26.60, 0.864, 12_400),
)


def reflection_scores(
    entries: "Sequence[ModelEntry]",
) -> "list[tuple[ModelEntry, dict[str, Any]]]":
    """Our models that have a score on Real20, each with it."""
    return [
        (entry, score)
        for entry in entries
        for score in entry.scores
        if (score["dataset"], score["protocol"]) == ("Real20", PROTOCOL)
    ]


WAYS = ("text_to_image", "image_to_text")
RANKS = ("r@1", "r@5", "r@10")


def mean_recalls(
    entries: "Sequence[ModelEntry]", part: dict[str, Any] | None
) -> dict[str, dict[int, float]]:
    """Mean recall in percent by name and bits: our models', and the baselines' if measured.

    Args:
        entries: the manifest's models.
        part: what ``derefl evaluate hashing --baselines --json`` prints.
    """
    table: dict[str, dict[int, float]] = {}
    for entry in entries:
        for score in entry.scores:
            bits, _, rest = score["protocol"].partition(" bits")
            if rest and f"{WAYS[0]}_{RANKS[0]}" in score:
                values = [score[f"{way}_{rank}"] for way in WAYS for rank in RANKS]
                table.setdefault(entry.name, {})[int(bits)] = sum(values) / len(values)
    for name, lengths in (part or {"baselines": {}})["baselines"].items():
        label = name if name == "random" else name.replace("_", " + ").upper()
        for bits, result in lengths.items():
            values = [result[way][rank] for way in WAYS for rank in RANKS]
            table.setdefault(label, {})[int(bits)] = sum(values) / len(values)
    return table


@dataclass(frozen=True)
class Search:
    """One measured search; FAISS's part is None where it was not measured."""

    codes: int
    queries: int
    k: int
    seconds: float
    faiss_seconds: float | None
    agrees: bool | None


def searches(part: dict[str, Any]) -> list[Search]:
    """What ``derefl bench search --json`` printed, one search after the other."""
    return [
        Search(
            size["codes"],
            of["queries"],
            of["k"],
            of["seconds"],
            of.get("faiss_seconds"),
            of.get("agrees"),
        )
        for size in part["sizes"]
        for of in size["searches"]
    ]
