"""Saved values are loaded again, and every kind of bad file has its own error."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from derefl.errors import CheckpointError, ConfigError, ModelNotFoundError
from derefl.zoo import (
    file_sha256,
    list_models,
    load_checkpoint,
    load_model,
    read_header,
    save_checkpoint,
)
from tests.zoo.net import KIND, Net, NetConfig, build, make_net, same, save_net


@pytest.fixture
def path(tmp_path):
    """A good file of ``make_net()``, for the tests to damage."""
    return save_net(tmp_path / "net.safetensors", make_net())


def load(path, **options):
    return load_checkpoint(path, kind=KIND, build=build, **options)


def rewrite(path, edit, metadata=None):
    """Save the file's tensors again after ``edit`` changed the dict."""
    header = {"derefl": json.dumps(read_header(path))} if metadata is None else metadata
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, header)


def unchanged(tensors):
    """An edit that leaves the tensors as they are."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_round_trip(tmp_path, dtype):
    net = make_net()
    path = save_net(tmp_path / "net.safetensors", net, dtype)
    kept = {n: t.dtype for n, t in load_file(path).items()}
    assert kept.pop("norm.num_batches_tracked") == torch.int64
    assert set(kept.values()) == {dtype}
    expected = make_net().to(dtype).float()
    loaded = load(path)
    assert same(loaded, expected) and not loaded.training
    assert loaded.norm.num_batches_tracked == 7
    assert loaded.config == NetConfig()  # the tuple is loaded as a tuple
    assert same(load(path, dtype=dtype), make_net().to(dtype))
    assert same(net, make_net())  # saving changed nothing


def test_only_a_network_of_an_unlisted_size_is_built_for_a_check_first(tmp_path):
    path, devices = tmp_path / "net.safetensors", []

    def count(config):
        devices.append(torch.empty(0).device.type)
        return torch.nn.Linear(2, 2)

    for change in ({"mean": [0, 0, 0]}, {"head_dim": 8}):
        config = {**list_models("derefl")[0].config, **change}
        save_checkpoint(torch.nn.Linear(2, 2), path, kind=KIND, config=config)
        load_checkpoint(path, kind=KIND, build=count)
    assert devices == ["cpu", "meta", "cpu"]


def test_float16_is_the_default_and_too_large_values_are_refused(tmp_path):
    net = make_net()
    save_checkpoint(net, tmp_path / "net.safetensors", kind=KIND, config={"width": 4})
    assert load_file(tmp_path / "net.safetensors")["linear.bias"].dtype == torch.float16
    net.norm.running_var[0] = 1e6
    with pytest.raises(
        CheckpointError,
        match=r"norm\.running_var has values up to 1e\+06, expected at most 6.55e\+04",
    ):
        save_checkpoint(net, tmp_path / "large.safetensors", kind=KIND, config={"width": 4})
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_tied_weights(tmp_path):
    def build_tied(config):
        net = Net(NetConfig(**config))
        net.norm.bias = net.linear.bias
        return net

    net = build_tied({})
    path = save_net(tmp_path / "net.safetensors", net)
    loaded = load_checkpoint(path, kind=KIND, build=build_tied)
    assert same(loaded, net) and loaded.norm.bias is loaded.linear.bias


def test_loading_leaves_the_random_state(path):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load(path)
    assert torch.equal(torch.rand(4), expected)


def test_sha256(path):
    digest = file_sha256(path)
    assert same(load(path, sha256=digest), make_net())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # still a valid safetensors file
    path.write_bytes(content)
    assert not same(load(path), make_net())
    with pytest.raises(CheckpointError, match=f"{file_sha256(path)}, expected {digest}"):
        load(path, sha256=digest)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 400, -1, None])
def test_a_file_of_another_length(path, keep):
    content = path.read_bytes()
    path.write_bytes(content + b"more" if keep is None else content[:keep])
    with pytest.raises(CheckpointError, match=r"not a complete safetensors file .*Copy it again"):
        load(path)


def test_a_missing_file(tmp_path):
    for read in (load, read_header):
        with pytest.raises(ModelNotFoundError, match=r"no file .*none\.safetensors"):
            read(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "lcdh-student"}, "of kind 'lcdh-student', expected 'derefl'"),
        (
            {"config": {"width": 5}},
            r"shapes: linear\.bias \[4\] for \[5\], .* and 3 more\. Its config",
        ),
        ({"config": {"width": 4, "colour": 1}}, r"cannot build: .*'colour'.*pip install --upgrade"),
        ({"format_version": 2}, r"version 2, expected 1.*pip install --upgrade"),
    ],
)
def test_a_header_that_does_not_fit(path, changed, message):
    header = read_header(path)
    assert header == {"format_version": 1, "kind": KIND, "config": {"width": 4, "depths": [1, 2]}}
    rewrite(path, unchanged, {"derefl": json.dumps(header | changed)})
    with pytest.raises(CheckpointError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors: tensors.pop("linear.bias"), r"config; missing: linear\.bias\. Its"),
        (
            lambda t: t.update({"linear.bias": torch.zeros(3)}),
            r"shapes: linear\.bias \[3\] for \[4\]",
        ),
        (
            lambda tensors: tensors.update({f"head.{i}": torch.zeros(1) for i in range(5)}),
            r"unexpected: head\.0, head\.1, head\.2 and 2 more",
        ),
    ],
)
def test_missing_unexpected_and_misshapen_tensors(path, edit, message):
    rewrite(path, edit)
    with pytest.raises(CheckpointError, match=message):
        load(path)


class Trap:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (self.path.touch, ())


@pytest.mark.parametrize("name", ["net.pt", "net.bin", "net.pkl", "net.safetensors"])
def test_a_pickle_is_refused_unopened(tmp_path, name):
    path, sprung = tmp_path / name, tmp_path / "sprung"
    for write in (
        lambda: torch.save(Trap(sprung), path),
        lambda: torch.save(Trap(sprung), path, _use_new_zipfile_serialization=False),
        lambda: path.write_bytes(pickle.dumps(Trap(sprung))),
    ):
        write()
        with pytest.raises(
            CheckpointError, match=r"is a pickle, .*convert it once.*save_checkpoint"
        ):
            load(path)
        assert not sprung.exists()


def test_a_header_length_that_looks_like_a_pickle(path):
    """0x280 bytes of header begin with \\x80\\x02, as a pickle does."""
    text = path.read_bytes()
    length = int.from_bytes(text[:8], "little")
    assert length < 0x280
    header = text[8 : 8 + length].ljust(0x280)
    path.write_bytes((0x280).to_bytes(8, "little") + header + text[8 + length :])
    assert same(load(path), make_net())


def test_config_json(path, tmp_path):
    header, config = read_header(path), tmp_path / "config.json"
    for content, message in (
        (header, None),
        (header | {"config": {"width": 4}}, "disagree on depths: "),
        (header | {"kind": "lcdh-student"}, r"disagree on \(kind\): "),
    ):
        config.write_text(json.dumps(content))
        if message is None:
            assert same(load(path, config_file=config), make_net())
            continue
        with pytest.raises(CheckpointError, match=message):
            load(path, config_file=config)
    rewrite(path, unchanged, {})
    with pytest.raises(CheckpointError, match="does not say which model it is"):
        load(path)
    config.write_text(json.dumps(header))
    assert same(load(path, config_file=config), make_net())
    for broken in ("{", "[]", '{"format_version": 1}', json.dumps(header | {"config": 3})):
        config.write_text(broken)
        with pytest.raises(CheckpointError, match=r"config\.json is not a derefl header"):
            load(path, config_file=config)


def test_load_model_takes_names_of_dtypes_and_devices(path):
    def load(**options):
        return load_model(path, kind=KIND, build=build, **options)

    assert same(load(), make_net())
    assert same(load(dtype="float16", device="cpu"), make_net().half())
    assert same(load(dtype=torch.bfloat16, device=torch.device("cpu")), make_net().bfloat16())
    for dtype in ("int8", "half precision", torch.int64):
        with pytest.raises(ConfigError, match="expected one of float32, float16, bfloat16"):
            load(dtype=dtype)
    for device in ("gpu", "cuda:99"):
        with pytest.raises(ConfigError, match=f"got device='{device}'"):
            load(device=device)


def test_failed_loading_returns_nothing_random(path):
    """A builder that makes another module is detected, even if the module is similar."""
    with pytest.raises(CheckpointError, match="missing: extra"):
        load_checkpoint(path, kind=KIND, build=WithExtra)


class WithExtra(Net):
    def __init__(self, config):
        super().__init__(NetConfig(**config))
        self.extra = torch.nn.Parameter(torch.zeros(1))
