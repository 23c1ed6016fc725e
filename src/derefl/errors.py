"""The exceptions of derefl: catch :class:`DereflError` to catch them all.

Every message says what was got, what was expected and what to do next.
"""


class DereflError(Exception):
    """Base of every error that derefl raises on purpose."""


class ModelNotFoundError(DereflError):
    """No model of that name, file, folder or Hub repo: ``load_derefl("derefl-smal")``."""


class DownloadError(DereflError):
    """The Hub could not be reached, refused, or broke off: ``load_derefl("org/private")``."""


class PublishError(DereflError):
    """The Hub took a model not or not whole: ``derefl publish NAME --repo not-mine/net``."""


class ManifestError(DereflError):
    """A ``weights_manifest.json`` that is damaged, or does not list what it should."""


class CheckpointError(DereflError):
    """A checkpoint that is damaged, of another format, or of another architecture."""


class ImageError(DereflError):
    """A picture that cannot be read, written or processed: ``derefl remove notes.txt``."""


class PictureTooLargeError(ImageError):
    """A picture of more pixels than allowed; ``megapixels`` is its size, rounded up."""

    def __init__(self, message: str, megapixels: int) -> None:
        super().__init__(message)
        self.megapixels = megapixels


class DataError(DereflError):
    """A data folder that is missing or not laid out as said: ``derefl evaluate --data nowhere``."""


class ConfigError(DereflError):
    """A setting that does not exist or cannot be: ``derefl train reflection --set stpes=3``."""


class HashIndexError(DereflError):
    """Codes, ids or an index file that do not fit: ``HashIndex.load("notes.txt")``."""


class OutputError(DereflError):
    """A file that cannot be written: full disk, no permission, name too long, not a file."""


class OutputExistsError(OutputError):
    """An output that is there already, and nobody asked to overwrite it: add ``--overwrite``."""


class MissingExtraError(DereflError):
    """A package that only some users need is not installed; the message has the pip command."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f'{purpose} needs the package {package}; install it with: pip install "derefl[{extra}]"'
        )
