"""The notebook in examples/, executed: ``python -m tests.notebook`` stores its outputs anew."""

import nbformat
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "examples" / "quickstart.ipynb"


def stored() -> nbformat.NotebookNode:
    """As it lies in the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)


def executed() -> nbformat.NotebookNode:
    """As the code and weights of today make it; without times, which would change every time."""
    notebook = stored()
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    options = {"record_timing": False, "coalesce_streams": True, "startup_timeout": 600}
    NotebookClient(notebook, resources=folder, **options).execute()
    notebook.metadata.language_info = {"name": "python"}
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
