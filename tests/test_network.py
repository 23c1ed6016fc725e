"""The network's parts against their definitions, and properties of the whole network."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from derefl.errors import ConfigError
from derefl.reflection.attention import REORGANISE, WindowAttention, reorganise, restore
from derefl.reflection.frequency import mean_filter, split_residual
from derefl.reflection.model import DeRefl, DeReflConfig
from tests.tiny import TINY


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", REORGANISE)
def test_restore_undoes_reorganise(mode):
    t, r = picture(2, 3, 5, 8), picture(2, 3, 5, 8, seed=1)
    y1, y2 = reorganise(t, r, mode)
    back_t, back_r = restore(y1, y2, mode)
    assert torch.equal(back_t, t) and torch.equal(back_r, r)


@pytest.mark.parametrize("mode", ["half", "interleave"])
def test_reorganised_streams_hold_complementary_halves(mode):
    t, r = torch.zeros(1, 1, 1, 8), torch.ones(1, 1, 1, 8)
    y1, y2 = reorganise(t, r, mode)
    assert y1.sum() == 4 and torch.equal(y1 + y2, torch.ones_like(t))
    expected = [0, 0, 0, 0, 1, 1, 1, 1] if mode == "half" else [0, 1] * 4
    assert y1.flatten().tolist() == expected


@given(h=st.integers(8, 30), w=st.integers(8, 30), kernel=st.sampled_from([3, 5, 11]))
def test_mean_filter_equals_its_definition(h, w, kernel):
    x = picture(1, 2, h, w, seed=h * 31 + w)
    radius = kernel // 2
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (radius, radius), (radius, radius)), "reflect")
    boxes = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    np.testing.assert_allclose(mean_filter(x, kernel), boxes.mean(axis=(-2, -1)), atol=1e-6)


def test_low_and_high_sum_to_the_residual():
    image, transmission = picture(2, 3, 24, 40), picture(2, 3, 24, 40, seed=1)
    low, high = split_residual(image, transmission, 11)
    torch.testing.assert_close(low + high, image - transmission)
    torch.testing.assert_close(low, mean_filter(image, 11) - mean_filter(transmission, 11))


@pytest.mark.parametrize("shift", [False, True])
def test_window_attention_equals_its_definition(shift):
    """Token by token, from the formula: softmax of q·k + bias over the tokens of the window."""
    torch.manual_seed(0)
    attention = WindowAttention(dim=8, head_dim=4, window=4, shift=shift).double()
    torch.nn.init.normal_(attention.bias)
    x = picture(1, 6, 7, 8).double()
    s = 2 if shift else 0
    qkv = attention.to_qkv(x)[0].unflatten(-1, (3, 2, 4))
    expected = torch.zeros(6, 7, 2, 4, dtype=torch.double)
    for i in range(6):
        for j in range(7):
            window = [
                (y, z)
                for y in range(6)
                for z in range(7)
                if (y + s) // 4 == (i + s) // 4 and (z + s) // 4 == (j + s) // 4
            ]
            for head in range(2):
                q = qkv[i, j, 0, head]
                scores = torch.stack(
                    [
                        q @ qkv[y, z, 1, head] / 2
                        + attention.bias[(i - y + 3) * 7 + (j - z + 3), head]
                        for y, z in window
                    ]
                )
                values = torch.stack([qkv[y, z, 2, head] for y, z in window])
                expected[i, j, head] = scores.softmax(0) @ values
    torch.testing.assert_close(attention(x)[0], attention.to_out(expected.flatten(-2)))


@pytest.fixture
def network(tiny) -> DeRefl:
    return tiny.network


@torch.inference_mode()
def test_padding_and_cropping_change_nothing_inside(network):
    for h, w in ((16, 16), (17, 63), (50, 70)):
        x = picture(1, 3, h, w)
        top, left = -h % 32 // 2, -w % 32 // 2
        size = (left, -w % 32 - left, top, -h % 32 - top)
        padded = network(torch.nn.functional.pad(x, size, mode="reflect"))
        layers = network(x)
        for inside, whole in zip(layers, padded, strict=True):
            torch.testing.assert_close(inside, whole[:, :, top : top + h, left : left + w])
    assert layers._fields == ("transmission", "residual_low", "residual_high")


@torch.inference_mode()
def test_a_batch_equals_its_pictures(network):
    x = picture(3, 3, 40, 72)
    singles = [network(x[i : i + 1]) for i in range(3)]
    for together, *apart in zip(network(x), *singles, strict=True):
        torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_training_mode_does_not_change_batch_norm(network):
    before = copy.deepcopy(network.state_dict())
    network.train()(picture(2, 3, 32, 32))
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@torch.inference_mode()
def test_float32_agrees_with_float64(network):
    x = picture(1, 3, 48, 64)
    reference = copy.deepcopy(network).double()(x.double())
    for single, double in zip(network(x), reference, strict=True):
        torch.testing.assert_close(single.double(), double, atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_streams_and_modulation_reach_the_transmission(network):
    """T̂ depends on the outputs of the residual stream and G, not only on its own stream."""
    x = picture(1, 3, 32, 32)
    plain = network(x).transmission
    for part in ("levels.2.enter_r", "high_frequency.to_modulation"):
        changed = copy.deepcopy(network)
        torch.nn.init.normal_(changed.get_submodule(part).weight)
        assert (changed(x).transmission - plain).abs().max() > 1e-4


@torch.inference_mode()
def test_mean_and_std_of_the_config_reach_the_backbone(network):
    x = picture(1, 3, 32, 32)
    seen = []
    network.backbone.features.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(x)
    assert torch.equal(seen[0], 2 * x - 1)  # the default
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.25)
    other = DeRefl(dataclasses.replace(TINY, mean=mean, std=std)).eval()
    assert other.state_dict().keys() == network.state_dict().keys()  # also fits older files
    other.backbone.features.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    other(x)
    for channel in range(3):
        expected = (x[:, channel] - mean[channel]) / std[channel]
        torch.testing.assert_close(seen[1][:, channel], expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dims": (8, 8, 8)},
        {"dims": (7,) * 5},
        {"mean_kernel": 10},
        {"windows": (8,)},
        {"std": (0.5, 0.5, 0.0)},
        {"mean": (float("nan"),) * 3},
        {"mean": 0.5},
    ],
)
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"got .*{next(iter(wrong))}="):
        DeReflConfig(**wrong)
