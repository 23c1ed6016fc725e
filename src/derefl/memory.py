"""Memory use of this process, and out-of-memory errors."""

import sys

EXHAUSTED = ("out of memory", "allocate memory", "not enough memory", "could not create a")
"""Out-of-memory messages of torch, its allocators and oneDNN; the last is oneDNN's."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory; torch has a message for it, but no error class."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in EXHAUSTED)
    )


def peak_memory_mb() -> float | None:
    """Peak memory of this process in MB (10⁶ bytes); None on Windows."""
    try:
        import resource
    except ImportError:  # Windows does not have this module
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
