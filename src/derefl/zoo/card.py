"""The model card: the ``README.md`` of a published checkpoint.

``cards/KIND.md`` is the template for a kind, with metadata. Scores, training and licence come from
the manifest's entry.
"""

import re
from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from derefl.errors import CheckpointError
from derefl.zoo.manifest import ModelEntry

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

ABOUT = ("dataset", "protocol", "n", "command")
"""Fields of a score that are not metrics."""

METRICS = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "input_psnr": "PSNR of the input (dB)",
    "input_ssim": "SSIM of the input",
    "worst_psnr": "worst PSNR (dB)",
    "brightness": "change of brightness (levels of 255)",
}

TRAINING = {"pictures": "pictures seen", "hours": "hours of training"}

LICENCES = "licences_of_the_data"
"""The field of ``training`` that the licence section shows."""

NOT_STATED = "Not stated."


def model_card(header: dict[str, Any], entry: ModelEntry | None, name: str, repo: str) -> str:
    """The text of ``README.md``, with the Hub's metadata at the top.

    Args:
        header: header of the checkpoint.
        entry: the model's manifest entry. None for a checkpoint that is not in the manifest; the
            card then says "Not stated." for scores, training and licence.
        name: name of the model.
        repo: the Hub repo id that the code snippet loads.

    Raises:
        CheckpointError: there is no card for the checkpoint's kind.
    """
    from huggingface_hub import ModelCard  # slow to import

    templates = {f.name.removesuffix(".md"): f for f in (files("derefl.zoo") / "cards").iterdir()}
    if header["kind"] not in templates:
        raise CheckpointError(
            f"got a model of kind {header['kind'][:40]!r}, expected one of "
            f"{', '.join(sorted(templates))}: only these can be published"
        )
    card = ModelCard(templates[header["kind"]].read_text(encoding="utf-8"))
    values = {
        "name": name,
        "repo": repo,
        "encoder": header["config"].get("encoder", ""),
        "scores": NOT_STATED,
        "training": NOT_STATED,
        "licence": NOT_STATED,
        "file": "Stored as safetensors, loaded strictly.",
    }
    if entry is not None:
        for field, value in licence_metadata(entry.licence, repo).items():
            card.data[field] = value
        if entry.scores:
            card.data["model_name"] = name
            card.data["eval_results"] = eval_results(entry, card.data["pipeline_tag"])
        values |= {
            "scores": score_tables(entry.scores) or NOT_STATED,
            "training": training_list(entry.training) or NOT_STATED,
            "licence": licence_text(entry),
            "file": f"{entry.parameters:,} parameters in {entry.dtype}, {entry.bytes:,} bytes, "
            f"sha256 `{entry.sha256}`. derefl compares it and loads strictly.",
        }
    card.text = re.sub(r"\{(\w+)\}", lambda field: str(values[field[1]]), card.text)
    return str(card)


def licence_metadata(licence: str, repo: str) -> dict[str, str]:
    """The Hub's licence fields; a licence without an identifier is ``other``."""
    from huggingface_hub import constants

    if " " not in licence:
        return {"license": licence.lower()}
    return {
        "license": "other",
        "license_name": slug(licence),
        "license_link": f"{constants.ENDPOINT}/{repo}#licence",
    }


def licence_text(entry: ModelEntry) -> str:
    """The licence of the weights and the reason for the licence."""
    origin = entry.training.get(LICENCES)
    reason = f" The training data: {origin}." if origin else ""
    return f"Weights: **{entry.licence}**.{reason} The code of derefl: Apache-2.0."


def eval_results(entry: ModelEntry, task: str) -> "list[EvalResult]":
    """All scores for the metadata's ``model-index``."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=task,
            # The Hub identifies a data set by type and config, not by name.
            dataset_type=slug(score["dataset"]),
            dataset_config=slug(score["protocol"]),
            dataset_name=f"{score['dataset']} ({score['n']} pictures, {score['protocol']})",
            metric_type=metric,
            metric_value=value,
            metric_name=metric_name(metric),
        )
        for score in entry.scores
        for metric, value in metrics(score).items()
    ]


def score_tables(scores: Iterable[dict[str, Any]]) -> str:
    """Markdown tables; scores with the same metrics share a table."""
    tables: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for score in scores:
        tables.setdefault(tuple(metrics(score)), []).append(score)
    return "\n\n".join(table(names, rows) for names, rows in tables.items())


def table(names: tuple[str, ...], scores: list[dict[str, Any]]) -> str:
    """One Markdown table."""
    header = ["data set", "pictures", "protocol", *map(metric_name, names), "command"]
    rows = [header, ["---"] * len(header)]
    for score in scores:
        values = [f"{score[name]:g}" for name in names]
        command = f"`{score['command']}`"
        rows.append([score["dataset"], str(score["n"]), score["protocol"], *values, command])
    return "\n".join(
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in rows
    )


def training_list(training: dict[str, Any]) -> str:
    """Data and budget as a Markdown list."""
    data = training.get("data", [])
    lines = [x if isinstance(x, str) else "; ".join(map(str, x.values())) for x in data]
    lines += [
        f"{TRAINING.get(name, name)}: {value}"
        for name, value in training.items()
        if name not in ("data", LICENCES)
    ]
    return "\n".join(f"- {line}" for line in lines)


def metrics(score: dict[str, Any]) -> dict[str, float]:
    """The metrics of a score by name."""
    return {name: value for name, value in score.items() if name not in ABOUT}


def metric_name(metric: str) -> str:
    """The name for readers: ``text_to_image_r@10`` is text→image R@10 (%)."""
    if metric in METRICS:
        return METRICS[metric]
    if "_r@" in metric:
        way, rank = metric.split("_r@")
        return f"{way.replace('_to_', '→')} R@{rank} (%)"
    return metric.replace("_", " ")


def slug(text: str) -> str:
    """The text as an identifier: ``SIR² sample: wild`` is ``sir-sample-wild``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
