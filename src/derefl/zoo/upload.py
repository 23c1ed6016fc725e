"""Upload files to the Hugging Face Hub in one commit, and explain errors."""

from pathlib import Path

from derefl.errors import CheckpointError, PublishError
from derefl.zoo.header import brief, parse_header, read_config
from derefl.zoo.hub import download
from derefl.zoo.locate import CONFIG_FILE


def upload(
    folder: Path,
    files: tuple[str, ...],
    repo: str,
    kind: str,
    message: str,
    *,
    private: bool,
    token: str | None,
) -> str:
    """Create the repository if necessary, and commit files to it.

    Args:
        folder: folder of the files.
        files: file names; other files in the repo are unchanged.
        repo: a Hub repo id ``org/name``.
        kind: kind of the model; a repo with another kind is refused.
        message: commit message.
        private: create a new repo as private; refuse an existing public repo.
        token: None uses the token of ``hf auth login`` or ``HF_TOKEN``.

    Returns:
        The id of the new commit, or of the last commit if the repo has exactly these files already.

    Raises:
        PublishError: no token, no permission, a repo with another kind, a public repo, or no
            connection to the Hub. The message states the state of the repo.
    """
    # huggingface_hub is slow to import.
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HTTPError

    if token is None and get_token() is None:
        raise PublishError(
            "there is no token to write to the Hub with; log in with `hf auth login`, or set "
            "HF_TOKEN to a token with write permission. Nothing was uploaded"
        )
    api = HfApi(token=token, library_name="derefl")
    state = "Nothing was uploaded"
    try:
        # None uses the organisation's default.
        api.create_repo(repo, private=private or None, exist_ok=True)
        state = f"The repo {repo} is there, but no commit of these files was confirmed"
        info = api.model_info(repo)
        if private and not info.private:
            raise PublishError(
                f"the Hub repo {repo} is there already and public, got --private; make it private "
                f"in its settings, leave --private out, or choose another name. {state}"
            )
        if CONFIG_FILE in {file.rfilename for file in info.siblings or ()}:
            refuse_other(repo, info.sha, kind, token)
        adds = [CommitOperationAdd(name, str(folder / name)) for name in files]
        # upload_folder may make several commits; one commit is atomic.
        return api.create_commit(repo, adds, commit_message=message).oid
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise explained(error, repo, state) from error


def refuse_other(repo: str, revision: str | None, kind: str, token: str | None) -> None:
    """Raise PublishError if a repo's ``config.json`` is not of this kind."""
    path = download(repo, CONFIG_FILE, revision, token=token)
    try:
        found = parse_header(read_config(path), CONFIG_FILE)["kind"]
    except CheckpointError:
        found = "unknown to derefl"
    if found != kind:
        raise PublishError(
            f"the Hub repo {repo} holds a model of kind {found!r}, got one of kind {kind!r} to "
            "publish; choose another name with --repo. Nothing was uploaded"
        )


def explained(error: Exception, repo: str, state: str) -> PublishError:
    """The error with a message that states the next step and the state of the repo."""
    from huggingface_hub.errors import (
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    # The client wraps errors of large files; the reason is the cause.
    if type(error) is RuntimeError and isinstance(error.__cause__, Exception):
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    where = repo.split("/")[0]
    if isinstance(error, HFValidationError):
        said = f"{repo!r} cannot be a Hub repo id, expected --repo ORG/NAME: {error}"
    elif status == 401:
        said = (
            "the Hub does not know the token (status 401); log in again with `hf auth login`, or "
            "set HF_TOKEN to a valid one"
        )
    elif status == 403:
        said = (
            f"the token may not write to {where} (status 403); take one with write permission for "
            f"{where}, or choose another name with --repo"
        )
    elif isinstance(error, RepositoryNotFoundError):
        said = (
            f"the Hub has no model repo {repo} that the token may write to; there may be a data "
            "set or a Space of that name: choose another name with --repo"
        )
    elif isinstance(error, OfflineModeIsEnabled):
        said = "the Hub is switched off by HF_HUB_OFFLINE; unset it and try again"
    else:
        said = (
            f"uploading to {repo} failed ({type(error).__name__}: {brief(error)}); check the "
            "connection and HF_ENDPOINT, then run the same command again"
        )
    return PublishError(f"{said}. {state}")
