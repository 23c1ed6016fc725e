"""The model card: every number of the manifest, and no other claims."""

import re

import msgspec
import pytest
from huggingface_hub import ModelCard

from derefl.errors import CheckpointError
from derefl.zoo import list_models
from derefl.zoo.card import model_card


def card_of(entry, name="net", repo="org/net"):
    return model_card({"kind": entry.kind, "config": entry.config}, entry, name, repo)


def numbers(entry):
    """(data set, protocol, metric, value) of all results."""
    about = ("dataset", "protocol", "n", "command")
    return [
        (score["dataset"], score["protocol"], metric, value)
        for score in entry.scores
        for metric, value in score.items()
        if metric not in about
    ]


@pytest.mark.parametrize("entry", list_models(), ids=lambda entry: entry.name)
def test_the_card_of_a_shipped_model_has_all_that_the_manifest_says(entry):
    card = ModelCard(card_of(entry))
    results = card.data.eval_results
    assert len(results) == len(numbers(entry)) > 0
    for result, (dataset, protocol, metric, value) in zip(results, numbers(entry), strict=True):
        assert (result.metric_type, result.metric_value) == (metric, value)
        assert dataset in result.dataset_name and protocol in result.dataset_name
    for score in entry.scores:
        (row,) = (
            line.split(" | ")
            for line in card.text.splitlines()
            if f"{score['command']}`" in line and f"| {score['protocol']} |" in line
            if line.startswith(f"| {score['dataset']} |")
        )
        values = [value for d, p, _, value in numbers(entry) if (d, p) == tuple_of(score)]
        assert [float(cell) for cell in row[3:-1]] == values
    for text in (*entry.training["data"], str(entry.training["steps"]), entry.sha256):
        assert text in card.text
    assert not re.search(r"\{\w*\}|Not stated", card.text)


def tuple_of(score):
    return score["dataset"], score["protocol"]


def test_metadata_of_the_hub():
    (entry,) = (entry for entry in list_models() if entry.name == "derefl-base")
    data = ModelCard(card_of(entry, "derefl-base", "org/net")).data
    assert (data.license, data.license_name) == ("other", "research-use-only")
    assert data.license_link.endswith("/org/net#licence")
    assert "\n## Licence\n" in card_of(entry)  # the target of the link
    assert (data.library_name, data.pipeline_tag) == ("derefl", "image-to-image")
    assert data.model_name == "derefl-base"


def test_results_of_one_data_set_by_two_protocols_stay_apart():
    """The Hub merges results with equal type, config and split, whatever their names."""
    (entry,) = (entry for entry in list_models() if entry.name == "derefl-base")
    results = ModelCard(card_of(entry)).data.to_dict()["model-index"][0]["results"]
    assert len(results) == len(entry.scores)


def test_an_identifier_of_a_licence_is_one_for_the_hub():
    (entry, *_) = list_models()
    apache = msgspec.structs.replace(entry, licence="Apache-2.0")
    data = ModelCard(card_of(apache)).data
    assert (data.license, data.license_name) == ("apache-2.0", None)


@pytest.mark.parametrize("kind", ["derefl", "lcdh-student", "lcdh-teacher"])
def test_the_card_of_somebodys_own_weights_claims_nothing(kind):
    header = {"kind": kind, "config": {"encoder": "stand-in"}}
    card = ModelCard(model_card(header, None, "mine", "me/mine"))
    assert card.text.count("Not stated.") == 3
    assert (card.data.eval_results, card.data.license) == (None, None)
    assert '("me/mine"' in card.text and card.text.lstrip().startswith("# mine\n")


def test_a_kind_without_a_card():
    with pytest.raises(CheckpointError, match=r"'\.\./derefl', expected one of derefl, lcdh-s"):
        model_card({"kind": "../derefl", "config": {}}, None, "a", "a/b")
