"""A run's log: one JSON object a line, appended, so that a crash loses nothing."""

import json
import time
from pathlib import Path
from typing import Any


class JsonLog:
    """Append records with a time stamp to ``path``."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def write(self, **record: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"time": round(time.time(), 1), **record}) + "\n")
