"""What this process holds of the machine's memory, and whether it ran out."""

import sys

EXHAUSTED = ("out of memory", "allocate memory", "not enough memory", "could not create a")
"""What torch, its allocators and oneDNN say when memory has run out; the last is oneDNN's."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out; torch says so in words only."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in EXHAUSTED)
    )


def peak_memory_mb() -> float | None:
    """The most that this process has held so far, in units of 10⁶ bytes; None on Windows."""
    try:
        import resource
    except ImportError:  # Windows has no such counter
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
