"""Pages of the site that are made from files elsewhere, so that nothing is written twice."""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from derefl.zoo import list_models
from derefl.zoo.card import model_card
from derefl.zoo.manifest import ModelEntry

CREDITS = "examples/pictures/README.md"
"""In the repository docs link to this file; on the site it is credits.md."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the cards of all models in the manifest, and the credits of the pictures."""
    for entry in list_models():
        uri = f"models/{entry.name}.md"
        files.append(File.generated(config, uri, content=card_page(entry)))
    credits_text = Path(config.config_file_path).with_name("examples") / "pictures" / "README.md"
    files.append(File.generated(config, "credits.md", content=credits_text.read_text("utf-8")))
    return files


def card_page(entry: ModelEntry) -> str:
    """The card that ``derefl publish`` would upload, without the Hub's metadata."""
    from huggingface_hub import ModelCard

    header: dict[str, Any] = {"kind": entry.kind, "config": entry.config}
    return ModelCard(model_card(header, entry, entry.name, repo=entry.name)).text


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links to the credits to their page."""
    depth = page.file.src_uri.count("/")
    return markdown.replace("../" * (depth + 1) + CREDITS, "../" * depth + "credits.md")
