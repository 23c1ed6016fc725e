"""The exceptions of derefl; catch :class:`DereflError` to catch them all.

Every message states the given value, the expected value and the next step.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class DereflError(Exception):
    """Base class of all errors that derefl raises on purpose."""


class ModelNotFoundError(DereflError):
    """No model with this name, file, folder or Hub repo: ``load_derefl("derefl-smal")``."""


class DownloadError(DereflError):
    """The download from the Hub failed or was refused: ``load_derefl("org/private")``."""


class PublishError(DereflError):
    """The upload to the Hub failed: ``derefl publish NAME --repo not-mine/net``."""


class ManifestError(DereflError):
    """A ``weights_manifest.json`` that is damaged, or lacks an entry."""


class CheckpointError(DereflError):
    """A checkpoint that is damaged, or has another format or architecture."""


class ImageError(DereflError):
    """A picture that cannot be read, written or processed: ``derefl remove notes.txt``."""


class PictureTooLargeError(ImageError):
    """A picture with more pixels than allowed; ``megapixels`` is its size, rounded up."""

    def __init__(self, message: str, megapixels: int) -> None:
        super().__init__(message)
        self.megapixels = megapixels


class DataError(DereflError):
    """A data folder is missing or has a wrong layout: ``derefl evaluate --data nowhere``."""


class ConfigError(DereflError):
    """An unknown setting or an invalid value: ``derefl train reflection --set stpes=3``."""


class HashIndexError(DereflError):
    """Invalid codes or ids, or an invalid index file: ``HashIndex.load("notes.txt")``."""


class OutputError(DereflError):
    """A file cannot be written: full disk, no permission, name too long, not a file."""


class OutputExistsError(OutputError):
    """The output file exists already; add ``--overwrite`` to replace it."""


class MissingExtraError(DereflError):
    """An optional package is not installed; the message contains the pip command."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f'{purpose} needs the package {package}; install it with: pip install "derefl[{extra}]"'
        )


@contextmanager
def needs(package: str, extra: str, purpose: str) -> Iterator[None]:
    """Turn an ImportError in the block into a MissingExtraError."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(package, extra, purpose) from error


EXHAUSTED = ("out of memory", "allocate memory", "not enough memory", "could not create a")
"""Out-of-memory messages of torch, its allocators and oneDNN; the last is oneDNN's."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory; torch has a message for it, but no error class."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in EXHAUSTED)
    )
