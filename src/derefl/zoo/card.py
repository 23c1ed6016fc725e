"""The model card: the ``README.md`` of a published checkpoint.

``cards/KIND.md`` is the template for a kind, with metadata. Scores, training and licence come from
the manifest's entry.
"""

import re
from importlib.resources import files
from typing import Any

from derefl.errors import CheckpointError
from derefl.zoo.manifest import ModelEntry, Score

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
    values = dict.fromkeys(("scores", "training", "licence"), NOT_STATED)
    values |= {"name": name, "repo": repo, "encoder": header["config"].get("encoder", "")}
    values["file"] = "Stored as safetensors, loaded strictly."
    if entry is not None:
        add_metadata(card.data, entry, name, repo)
        origin = entry.training.get(LICENCES)
        data = f" The training data: {origin}." if origin else ""
        values |= {
            "scores": score_tables(entry.scores) or NOT_STATED,
            "training": training_list(entry.training) or NOT_STATED,
            "licence": f"Weights: **{entry.licence}**.{data} The code of derefl: Apache-2.0.",
            "file": f"{entry.parameters:,} parameters in {entry.dtype}, {entry.bytes:,} bytes, "
            f"sha256 `{entry.sha256}`. derefl checks the sha256 and loads strictly.",
        }
    card.text = re.sub(r"\{(\w+)\}", lambda field: values[field[1]], card.text)
    return str(card)


def add_metadata(data: Any, entry: ModelEntry, name: str, repo: str) -> None:
    """Add the licence and all scores to the Hub's metadata."""
    from huggingface_hub import EvalResult, constants

    if " " not in entry.licence:
        data["license"] = entry.licence.lower()
    else:  # not an SPDX identifier
        data["license"], data["license_name"] = "other", slug(entry.licence)
        data["license_link"] = f"{constants.ENDPOINT}/{repo}#licence"
    if entry.scores:
        data["model_name"] = name
        data["eval_results"] = [
            EvalResult(
                task_type=data["pipeline_tag"],
                # The Hub identifies a data set by type and config, not by name.
                dataset_type=slug(score["dataset"]),
                dataset_config=slug(score["protocol"]),
                dataset_name=f"{score['dataset']} ({score['n']} pictures, {score['protocol']})",
                metric_type=metric,
                metric_value=value,
                metric_name=metric_name(metric),
            )
            for score in entry.scores
            for metric, value in metrics_of(score).items()
        ]


def score_tables(scores: list[dict[str, Any]]) -> str:
    """Markdown tables; scores with the same metrics share a table."""
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for score in scores:
        names = tuple(metrics_of(score))
        header = ["data set", "pictures", "protocol", *map(metric_name, names), "command"]
        rows = tables.setdefault(names, [header, ["---"] * len(header)])
        values = [f"{score[name]:g}" for name in names]
        about = [score["dataset"], str(score["n"]), score["protocol"]]
        rows.append([*about, *values, f"`{score['command']}`"])
    return "\n\n".join(
        "\n".join(f"| {' | '.join(row)} |" for row in rows) for rows in tables.values()
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


def metrics_of(score: dict[str, Any]) -> dict[str, float]:
    """The metrics of a score by name."""
    return {name: value for name, value in score.items() if name not in Score.__struct_fields__}


def metric_name(metric: str) -> str:
    """The name for readers: ``text_to_image_r@10`` is text→image R@10 (%)."""
    if "_r@" in metric:
        way, rank = metric.split("_r@")
        return f"{way.replace('_to_', '→')} R@{rank} (%)"
    return METRICS.get(metric, metric.replace("_", " "))


def slug(text: str) -> str:
    """The text as an identifier: ``SIR² sample: wild`` is ``sir-sample-wild``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
