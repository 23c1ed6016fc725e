"""The report of ``derefl remove``: in words, or as JSON."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from derefl.imaging.folders import kinds
from derefl.reflection.plan import Result


def summary(pictures: Sequence[Result], where: str) -> str:
    """What was written, in one line."""
    states = Counter(picture.status for picture in pictures)
    if len(pictures) == 1:
        state = pictures[0].status.replace("skipped", "already exists")
        return f"{state}: {names(pictures[0].outputs)}"
    copied = f", {states['copied']} copied" if states["copied"] else ""
    kept = f", {states['skipped']} already there" if states["skipped"] else ""
    return f"{states['written']} of {len(pictures)} pictures written {where}{copied}{kept}"


def outline(pictures: Sequence[Result], where: str) -> list[str]:
    """The planned outputs, one line per picture, and the total."""
    due = [picture for picture in pictures if picture.due]
    kept = len(pictures) - len(due)
    total = f"{len(due)} {'picture' if len(due) == 1 else 'pictures'} would be written {where}"
    lines = [f"{picture.source} -> {names(picture.due)}" for picture in due]
    return [*lines, total + (f", {kept} already there" if kept else "")]


def names(outputs: dict[str, Path]) -> str:
    """File names in one line."""
    return ", ".join(map(str, outputs.values()))


def as_json(results: Sequence[Result], passed_over: set[Path], seconds: float) -> dict[str, Any]:
    """The report for scripts."""
    states = Counter(result.status for result in results)
    totals = {s: states[s] for s in ("written", "copied", "skipped", "failed", "pending")}
    files = [
        {
            "input": str(result.source),
            "outputs": list(map(str, result.outputs.values())),
            "amount": None if result.amount is None else round(result.amount, 4),
            "seconds": round(result.seconds, 3),
            "status": result.status,
            "error": result.error,
            "left_out": result.left_out,
        }
        for result in results
    ]
    return {
        "files": files,
        "totals": totals | {"seconds": round(seconds, 3)},
        "passed_over": kinds(passed_over),
    }
