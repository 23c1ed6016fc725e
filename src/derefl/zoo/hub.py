"""Download a file from the Hugging Face Hub, and explain errors."""

from pathlib import Path

from derefl.errors import ConfigError, DereflError, DownloadError, ModelNotFoundError


def download(
    repo: str,
    file: str,
    revision: str | None,
    *,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """Download a repository's file, if it is not in the local cache yet.

    All arguments are as in huggingface_hub.

    Returns:
        The path in the cache; it ends in ``<commit>/<file>``.

    Raises:
        ModelNotFoundError: the Hub has no such repository, revision or file.
        DownloadError: the download failed or was refused.
        ConfigError: both ``local_files_only`` and ``force_download``.
    """
    if local_files_only and force_download:
        raise ConfigError(
            "got local_files_only=True and force_download=True, expected one of them at most: "
            "the first forbids what the second asks for"
        )
    # huggingface_hub is slow to import, and a bundled model does not need the package.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError

    try:
        path = hf_hub_download(
            repo,
            file,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
    except (HTTPError, OSError, ValueError) as error:
        raise explained(error, repo, file, revision or "main") from error
    return Path(path)


def explained(error: Exception, repo: str, file: str, revision: str) -> DereflError:
    """The error with a message that states the next step."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # These two errors only report a missing file; the reason is their cause, if any.
    if type(error) is ValueError or isinstance(error, LocalEntryNotFoundError):
        error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    status = getattr(getattr(error, "response", None), "status_code", None)

    if isinstance(error, HFValidationError):
        return ModelNotFoundError(f"{repo!r} cannot be a Hub repo id, expected 'org/name': {error}")
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFoundError(
            f"the Hub repo {repo} has no revision {revision!r}, expected a branch, tag or commit: "
            "leave revision out for the latest"
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return ModelNotFoundError(
            f"the Hub repo {repo} has no {file} at revision {revision!r}: choose a repo that was "
            "made by `derefl publish`, or another revision"
        )
    if isinstance(error, GatedRepoError):
        return DownloadError(
            f"the Hub repo {repo} is gated: ask for access on its page, then log in with `hf "
            "auth login`, or set HF_TOKEN"
        )
    if status in (401, 403):
        return DownloadError(
            f"the Hub refused {repo} (status {status}): the repo is private or does not exist, or "
            "the token is not valid. Check the spelling; log in with `hf auth login`, or "
            "set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelNotFoundError(
            f"there is no Hub repo {repo} that you can see: check the spelling; if it is private, "
            "log in with `hf auth login`, or set HF_TOKEN"
        )
    if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
        return DownloadError(
            f"{file} of {repo} at revision {revision!r} is not in the local cache, and downloading "
            "is switched off: load it once without local_files_only and HF_HUB_OFFLINE"
        )
    return DownloadError(
        f"{file} of the Hub repo {repo} could not be downloaded ({type(error).__name__}: {error}): "
        "check the connection, HF_ENDPOINT and the disk, then try again"
    )
