"""Download from and upload to the Hugging Face Hub, and explain the Hub's errors."""

from pathlib import Path

from derefl.errors import (
    CheckpointError,
    ConfigError,
    DereflError,
    DownloadError,
    ModelNotFoundError,
    PublishError,
)
from derefl.zoo.header import brief, config_bytes, parse_header

# huggingface_hub is slow to import, and a bundled model does not need it: import it in functions.

CONFIG_FILE = "config.json"

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"

ERRORS: dict[str, tuple[type[DereflError], str]] = {
    "HFValidationError": (
        ModelNotFoundError,
        "{repo!r} cannot be a Hub repo id, expected 'org/name': check the spelling",
    ),
    "RevisionNotFoundError": (
        ModelNotFoundError,
        "the Hub repo {repo} has no revision {revision!r}, expected a branch, tag or commit: leave "
        "revision out for the latest",
    ),
    "RemoteEntryNotFoundError": (
        ModelNotFoundError,
        "the Hub repo {repo} has no {file} at revision {revision!r}: choose a repo made by `derefl "
        "publish`, or another revision",
    ),
    "GatedRepoError": (
        DownloadError,
        f"the Hub repo {{repo}} is gated: ask for access on its page, then {LOG_IN}",
    ),
    "401": (
        DownloadError,
        "the Hub refused {repo} (status 401): the repo is private or does not exist, or the token "
        f"is missing or not valid. Check the spelling; {LOG_IN}",
    ),
    "403": (
        DownloadError,
        "the Hub refused {repo} (status 403): the token has no permission for it. Use a token that "
        "has (to publish: write permission), or choose another repo",
    ),
    "RepositoryNotFoundError": (
        ModelNotFoundError,
        "there is no Hub model repo {repo} that you can see: check the spelling and that it is not "
        f"a data set or a Space; if it is private, {LOG_IN}",
    ),
    **dict.fromkeys(
        ("LocalEntryNotFoundError", "OfflineModeIsEnabled"),
        (
            DownloadError,
            "{repo} at revision {revision!r} is not in the local cache, and local_files_only or "
            "HF_HUB_OFFLINE switches the Hub off: unset it and try again",
        ),
    ),
    "Exception": (
        DownloadError,
        "the transfer of {file} of the Hub repo {repo} failed ({reason}): check the connection, "
        "HF_ENDPOINT and the disk, then try again",
    ),
}
"""Class of huggingface_hub's error, or status of the Hub's answer, to our error and its message.
The first match counts."""


def explained(
    error: Exception, repo: str, file: str = "a file", revision: str | None = None
) -> DereflError:
    """The error of :data:`ERRORS` for an error of huggingface_hub."""
    # These errors only say that a transfer failed; the reason is their cause, if any.
    vague = type(error) in (ValueError, RuntimeError)
    if vague or type(error).__name__ == "LocalEntryNotFoundError":
        error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    status = getattr(getattr(error, "response", None), "status_code", None)
    names = {str(status), *(cls.__name__ for cls in type(error).__mro__)}
    kind, message = next(row for name, row in ERRORS.items() if name in names)
    reason = f"{type(error).__name__}: {brief(error)}"
    return kind(message.format(repo=repo, file=file, revision=revision or "main", reason=reason))


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
            "got local_files_only=True and force_download=True, expected at most one of them: "
            "leave one out"
        )
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
        raise explained(error, repo, file, revision) from error
    return Path(path)


def upload(
    folder: Path, repo: str, kind: str, message: str, *, private: bool, token: str | None
) -> str:
    """Create the repository if necessary, and commit the files of a folder to it.

    A repo with another kind of model is refused, and so is a public repo if ``private`` is set.
    Other files in the repo are unchanged.

    Returns:
        The id of the new commit, or of the last commit if the repo has exactly these files already.

    Raises:
        PublishError: the message states the state of the repo.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    api = HfApi(token=token, library_name="derefl")
    state = "Nothing was uploaded"
    try:
        # None uses the organisation's default.
        api.create_repo(repo, private=private or None, exist_ok=True)
        state = f"The repo {repo} exists, but no new commit was confirmed"
        info = api.model_info(repo)
        if private and not info.private:
            raise PublishError(
                f"the Hub repo {repo} is public, got --private; make it private in its settings, "
                f"leave --private out, or choose another name with --repo. {state}"
            )
        if CONFIG_FILE in {file.rfilename for file in info.siblings or ()}:
            found = repo_kind(download(repo, CONFIG_FILE, info.sha, token=token))
            if found != kind:
                raise PublishError(
                    f"the Hub repo {repo} has a model of kind {found!r}, got one of kind {kind!r} "
                    f"to publish; choose another name with --repo. {state}"
                )
        return api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).oid
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise PublishError(f"{explained(error, repo)}. {state}") from error


def repo_kind(config_file: Path) -> str:
    """The kind of model in a repo's ``config.json``."""
    try:
        return parse_header(config_bytes(config_file), CONFIG_FILE)["kind"]
    except CheckpointError:
        return "unknown to derefl"
