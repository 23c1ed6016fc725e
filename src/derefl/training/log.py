"""A run's log: one JSON object a line, appended, so that a crash loses nothing; and its means."""

import json
import time
from pathlib import Path
from typing import Any

from torch import Tensor


class JsonLog:
    """Append records with a time stamp to ``path``."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def write(self, **record: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"time": round(time.time(), 1), **record}) + "\n")


class Meter:
    """Running means, and the pace, between two log lines.

    Values may be tensors of one number: nothing waits for an accelerator before a mean is asked.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[float | Tensor]] = {}
        self.pictures, self.since = 0, time.monotonic()

    def add(self, pictures: int, **values: float | Tensor) -> None:
        """Count a step of that many pictures."""
        self.pictures += pictures
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def mean(self, name: str) -> float:
        """The mean since the last :meth:`take`."""
        return float(sum(self.values[name]) / len(self.values[name]))

    def take(self) -> dict[str, float]:
        """The means and the pace, rounded; starts anew."""
        record = {name: round(self.mean(name), 6) for name in self.values}
        record["pictures_per_s"] = round(self.pictures / (time.monotonic() - self.since), 3)
        self.values.clear()
        self.pictures, self.since = 0, time.monotonic()
        return record
