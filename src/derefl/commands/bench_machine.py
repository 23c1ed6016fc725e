"""What a measurement was taken on: part of every report of ``derefl bench``."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """The CPU, how many cores this process may use, the system, and the versions that matter."""
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numpy", "derefl")},
    }


def in_words(about: dict[str, Any]) -> str:
    """:func:`machine` in a line."""
    return (
        "{cpu}, usable cores: {cores}, {system}; Python {python}, torch {torch}, numpy {numpy}, "
        "derefl {derefl}".format(**about)
    )


def usable_cores() -> int:
    """Cores that this process may use, which are often fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """As the system calls it, and its widest vector units."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # neither Linux nor macOS
        return platform.processor()
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags", "").split()
    units = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if f in flags]
    name = fields.get("model name", platform.machine())
    return f"{name} ({', '.join(units)})" if units else name
