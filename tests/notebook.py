"""Run the notebook in examples/: ``python -m tests.notebook`` stores the new outputs."""

import nbformat

from tests.conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "examples" / "quickstart.ipynb"


def stored() -> nbformat.NotebookNode:
    """The notebook as stored in the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)


def executed() -> nbformat.NotebookNode:
    """The notebook with new outputs; without times, which would change every time."""
    from nbclient import NotebookClient

    notebook = stored()
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    options = {"record_timing": False, "coalesce_streams": True, "startup_timeout": 600}
    NotebookClient(notebook, resources=folder, **options).execute()
    notebook.metadata.language_info = {"name": "python"}
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
