"""The mean of checkpoints."""

import average
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from derefl.errors import CheckpointError, ConfigError
from derefl.zoo import load_checkpoint, save_checkpoint
from tests.zoo.net import build, make_net


@pytest.fixture
def runs(tmp_path):
    """Checkpoints of three runs, and their networks."""
    nets = [make_net() for _ in range(3)]
    paths = [tmp_path / f"{index}.safetensors" for index in range(3)]
    for index, (net, path) in enumerate(zip(nets, paths, strict=True)):
        for parameter in net.parameters():
            torch.nn.init.constant_(parameter, float(index * index))  # 0, 1, 4
        save_checkpoint(net, path, kind="derefl", config=vars(net.config))
    return nets, paths


@pytest.mark.parametrize(
    ("options", "expected"), [([], 5 / 3), (["--shares", "2", "1", "1"], 5 / 4)]
)
def test_every_weight_is_the_mean_of_its_kind(runs, tmp_path, options, expected):
    _, paths = runs
    out = tmp_path / "mean.safetensors"
    average.main([*map(str, paths), "--out", str(out), *options])
    loaded = load_checkpoint(out, kind="derefl", build=build)
    for parameter in loaded.parameters():
        torch.testing.assert_close(
            parameter, torch.full_like(parameter, expected), atol=2e-3, rtol=0
        )
    with safe_open(out, framework="pt") as mean, safe_open(paths[0], framework="pt") as first:
        assert mean.metadata() == first.metadata()


def test_of_one_run_it_is_the_run_itself_also_in_place(runs):
    _, paths = runs
    before = load_file(paths[1])
    average.average([paths[1]], paths[1])
    for name, value in load_file(paths[1]).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_strangers_and_wrong_shares_are_refused(runs, tmp_path):
    nets, paths = runs
    other = tmp_path / "other.safetensors"
    save_checkpoint(nets[0], other, kind="lcdh-student", config=vars(nets[0].config))
    with pytest.raises(CheckpointError, match=r"differ in \(kind\)"):
        average.average([paths[0], other], tmp_path / "out")
    with pytest.raises(ConfigError, match="expected one for each"):
        average.average(paths, tmp_path / "out", [1.0, 2.0])
    with pytest.raises(ConfigError, match="sum above 0"):
        average.average(paths, tmp_path / "out", [0.0, 0.0, 0.0])
    assert not (tmp_path / "out").exists()
