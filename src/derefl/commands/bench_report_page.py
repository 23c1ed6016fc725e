"""The text of the page of benchmarks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from derefl.commands.bench_hashing import TEXT
from derefl.commands.bench_machine import in_words
from derefl.commands.bench_models import CLIP, HEADER, row
from derefl.commands.bench_report import PARTS
from derefl.commands.bench_report_numbers import (
    PEERS,
    SOURCES,
    Peer,
    mean_recalls,
    reflection_scores,
    searches,
)

if TYPE_CHECKING:
    from derefl.zoo import ModelEntry

HEAD = """# Benchmarks

This page is written by a command; do not edit it. Run it on your machine:

```bash
pip install "derefl[train,faiss]"
derefl bench report --out benchmarks/
```

Its numbers are in [benchmarks.json](benchmarks.json), but for the scores of our models, which
are in `weights_manifest.json`.
"""


def page(entries: "Sequence[ModelEntry]", results: dict[str, Any]) -> str:
    """The page as Markdown.

    Args:
        entries: the manifest's models.
        results: parts of :data:`~derefl.commands.bench_report.PARTS`, as their commands print them.
    """
    sections = (
        models_section(results.get("models")),
        quality_section(entries),
        recall_section(entries, results.get("recall")),
        search_section(results.get("search")),
    )
    return "\n".join((HEAD, *sections))


def models_section(part: dict[str, Any] | None) -> str:
    """Speed, memory and size of every model."""
    head = "## Speed, memory and size\n\n"
    if part is None:
        return head + missing("models")
    height, width = part["size"]
    rows = [row(of) for of in part["models"]]
    return head + (
        f"{in_words(part['machine'])}. {threads(part['threads'])}, {part['dtype']}. A picture is "
        f"{height}×{width} where its reflection is removed (looked at in two sizes) and "
        f"224×224 where it is coded; a text is a caption of {len(TEXT.split())} words, taken apart "
        "included. "
        "Time: median of single items. Memory: the most that a fresh process held so far, Python "
        "and torch included. GMACs: convolutions and matrix products. The teacher works on "
        f"features of an encoder, which are not counted. {CLIP} has random weights, which does "
        "not change its speed.\n\n"
        f"{markdown(HEADER, rows)}\n{ratios(part['models'])}"
        f"```bash\n{PARTS['models']}\n```\n"
    )


def ratios(rows: list[dict[str, Any]]) -> str:
    """How many times as many items a second the student codes as open_clip."""
    rate = {(of["model"], of["item"]): of["items_per_s"] for of in rows}
    parts = [
        f"{rate['lcdh-student', item] / rate[CLIP, item]:.1f} times as many {item}s a second"
        for item in ("picture", "text")
        if {("lcdh-student", item), (CLIP, item)} <= rate.keys()
    ]
    return f"`lcdh-student` codes {' and '.join(parts)} as {CLIP}.\n\n" if parts else ""


def quality_section(entries: "Sequence[ModelEntry]") -> str:
    """Reflection removal: ours beside the peers."""
    head = "## Removing reflections: quality against size\n\n"
    found = reflection_scores(entries)
    if not found:
        return f"{head}No model of the manifest has a score on Real20.\n"
    first = found[0][1]
    sizes = sorted(peer.parameters for peer in PEERS if peer.parameters)
    ours = [
        Peer(f"**{entry.name}**", score["psnr"], score["ssim"], entry.parameters / 1e6)
        for entry, score in found
    ]
    named = [
        f"{entry.name} with {entry.parameters / 1e6:.1f} has {score['psnr']:.2f} dB"
        for entry, score in found
    ]
    largest = max(entry.parameters / 1e6 for entry, _ in found)
    rows = [
        (
            peer.name,
            f"{peer.psnr:.2f}",
            f"{peer.ssim:.3f}",
            "–" if peer.parameters is None else f"{peer.parameters:,.{1 if peer in ours else 0}f}",
            "–" if peer.gflops is None else f"{peer.gflops:.0f}",
        )
        for peer in sorted((*ours, *PEERS), key=lambda peer: peer.psnr)
    ]
    return head + (
        f"![PSNR on Real20 against millions of parameters on a logarithmic axis: "
        f"{', '.join(named)}, the photo left as it is {first['input_psnr']:.2f}, peers have "
        f"{sizes[0]:,} to {sizes[-1]:,} and the PSNR of the table](pictures/quality.svg)\n\n"
        f"Real20, {first['n']} pictures; the photo left as it is: {first['input_psnr']:.2f} dB, "
        f"SSIM {first['input_ssim']:.3f}. Ours by `{first['command']} --model NAME`, protocol "
        f"`{first['protocol']}`; the others {SOURCES}. GFLOPs are as their authors count them.\n\n"
        f"{markdown(('', 'PSNR, dB', 'SSIM', 'M parameters', 'GFLOPs'), rows)}\n"
        f"The peers that say their size are {sizes[0] / largest:,.0f} to "
        f"{sizes[-1] / largest:,.0f} times as large as ours. LightRR (9.5 M parameters, 9.6 "
        "GFLOPs) gives only a mean over all of its sets, 25.88 dB, which compares with nothing "
        "here.\n"
    )


def recall_section(entries: "Sequence[ModelEntry]", part: dict[str, Any] | None) -> str:
    """Codes: recall against bits."""
    table = mean_recalls(entries, part)
    bits = sorted({n for of in table.values() for n in of})
    rows = [
        (name, *(f"{of[n]:.1f}" if n in of else "–" for n in bits)) for name, of in table.items()
    ]
    return (
        "## Search: recall against bits\n\n"
        f"![Mean recall on Flickr8k dev against the bits of a code, a line each for "
        f"{', '.join(name for name, of in table.items() if len(of) > 1)}](pictures/recall.svg)\n\n"
        "Flickr8k dev, 1,000 pictures and 5,000 captions; the mean of R@1, R@5 and R@10, both "
        "ways, in percent. Baselines work on the student's float features and are fitted on the "
        "training pictures.\n\n"
        f"{markdown(('', *(f'{n} bits' for n in bits)), rows)}\n"
        + ("" if part else f"{missing('recall')}\n")
        + f"```bash\n{PARTS['recall']}\n```\n"
    )


def search_section(part: dict[str, Any] | None) -> str:
    """The exact search: seconds against codes."""
    head = "## Search: time against codes\n\n"
    if part is None:
        return head + missing("search")
    rows = [
        (
            f"{of.codes:,}",
            str(of.queries),
            str(of.k),
            f"{1e3 * of.seconds:.2f}",
            "–" if of.faiss_seconds is None else f"{1e3 * of.faiss_seconds:.2f}",
            {True: "same", False: "other", None: "–"}[of.agrees],
        )
        for of in searches(part)
    ]
    names = ("codes", "queries", "k", "HashIndex, ms", "FAISS IndexBinaryFlat, ms", "hits")
    about = in_words(part["machine"]) + ". " if "machine" in part else ""
    return head + (
        "![Milliseconds of a query against the number of codes, both axes logarithmic, a line each "
        "for HashIndex and FAISS, one query and several at once](pictures/search.svg)\n\n"
        f"{about}Exact search among random codes of {part['bits']} bits, "
        f"{threads(part['threads'])}; median of several runs, both on the same codes and queries."
        "\n\n"
        f"{markdown(names, rows)}\n```bash\n{PARTS['search']}\n```\n"
    )


def missing(name: str) -> str:
    """What stands where a part is left out."""
    return f"Not measured here yet. `{PARTS[name]}` prints it; `--part {name}=FILE` puts it in.\n"


def threads(n: int) -> str:
    """One thread, two threads."""
    return "1 thread" if n == 1 else f"{n} threads"


def markdown(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
