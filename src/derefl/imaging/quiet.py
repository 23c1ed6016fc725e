"""Suppress the warnings and the log of Pillow."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_filters = threading.Lock()


@contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Suppress Pillow's warnings and yield the list that collects them.

    Python has one set of warning filters for all threads, so this uses a lock. Keep the block
    short.
    """
    pillow, nothing = logging.getLogger("PIL"), logging.NullHandler()
    with _filters, warnings.catch_warnings(record=True) as unsaid:
        warnings.simplefilter("always")
        pillow.addHandler(nothing)  # without a handler, Pillow's log goes to stderr
        try:
            yield unsaid
        finally:
            pillow.removeHandler(nothing)
