"""The log of a training run: one JSON object per line, running means, and peak memory."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from torch import Tensor


class JsonLog:
    """Append records with a time stamp to ``path``.

    Each record is one write, so an interrupted run leaves at most one incomplete line, the last.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def write(self, **record: Any) -> None:
        line = json.dumps({"time": round(time.time(), 1), **record}) + "\n"
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode())


class Meter:
    """Running means and pictures per second between two log lines.

    Values may be scalar tensors. Only :meth:`mean` waits for the accelerator.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[float | Tensor]] = {}
        self.pictures, self.since = 0, time.monotonic()

    def add(self, pictures: int, **values: float | Tensor) -> None:
        """Add the values of one step."""
        self.pictures += pictures
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def mean(self, name: str) -> float:
        """The mean since the last :meth:`take`."""
        return float(sum(self.values[name]) / len(self.values[name]))

    def take(self) -> dict[str, float]:
        """Return the rounded means and pictures per second, and reset."""
        record = {name: round(self.mean(name), 6) for name in self.values}
        record["pictures_per_s"] = round(self.pictures / (time.monotonic() - self.since), 3)
        self.values.clear()
        self.pictures, self.since = 0, time.monotonic()
        return record


def peak_memory_mb() -> float | None:
    """Peak memory of this process in MB (10⁶ bytes); None on Windows."""
    try:
        import resource
    except ImportError:  # Windows does not have this module
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
