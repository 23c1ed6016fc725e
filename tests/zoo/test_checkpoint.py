"""Saved values are loaded again, and every kind of bad file has its own error."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from derefl.errors import CheckpointError, ConfigError, ModelNotFoundError
from derefl.zoo import file_sha256, load_checkpoint, load_model, read_header, save_checkpoint
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


def test_metadata_is_the_same_as_config_json(path):
    header = {"format_version": 1, "kind": KIND, "config": {"width": 4, "depths": [1, 2]}}
    assert read_header(path) == header


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


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, -1])
def test_truncated_file(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match=r"not a complete safetensors file .*Copy it again"):
        load(path)


def test_file_with_more_behind_it(path):
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load(path)


def test_missing_file(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"no file .*none\.safetensors"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(ModelNotFoundError, match=r"no file .*none\.safetensors"):
        read_header(tmp_path / "none.safetensors")


def test_wrong_architecture(tmp_path):
    path = save_net(tmp_path / "net.safetensors", make_net(), config={"width": 5})
    message = r"shapes: linear\.bias \[4\] for \[5\], .* and 3 more\. Its config"
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_wrong_kind(tmp_path):
    path = save_net(tmp_path / "net.safetensors", make_net(), kind="lcdh-student")
    with pytest.raises(CheckpointError, match="of kind 'lcdh-student', expected 'derefl'"):
        load(path)


def test_unknown_config_field(tmp_path):
    path = save_net(tmp_path / "net.safetensors", make_net(), config={"width": 4, "colour": 1})
    with pytest.raises(CheckpointError, match=r"cannot build: .*'colour'.*pip install --upgrade"):
        load(path)


def test_newer_format(path):
    header = read_header(path) | {"format_version": 2}
    rewrite(path, unchanged, {"derefl": json.dumps(header)})
    with pytest.raises(CheckpointError, match=r"version 2, expected 1.*pip install --upgrade"):
        load(path)


def test_missing_unexpected_and_misshapen_tensors(path):
    rewrite(path, lambda tensors: tensors.pop("linear.bias"))
    with pytest.raises(CheckpointError, match=r"config; missing: linear\.bias\. Its"):
        load(path)
    rewrite(path, lambda tensors: tensors.update({"linear.bias": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=r"shapes: linear\.bias \[3\] for \[4\]"):
        load(path)
    extra = {f"head.{i}": torch.zeros(1) for i in range(5)}
    rewrite(path, lambda tensors: tensors.update(extra | {"linear.bias": torch.zeros(4)}))
    with pytest.raises(CheckpointError, match=r"unexpected: head\.0, head\.1, head\.2 and 2 more"):
        load(path)


@pytest.mark.parametrize("name", ["net.pt", "net.bin", "net.safetensors"])
@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_is_refused_unopened(tmp_path, name, legacy):
    torch.save(make_net().state_dict(), tmp_path / name, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"is a pickle, .*convert it once.*save_checkpoint"):
        load(tmp_path / name)


@pytest.mark.parametrize(("name", "protocol"), [("net.safetensors", 4), ("net.pkl", 0)])
def test_plain_pickle_is_refused_unopened(tmp_path, name, protocol):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    content = pickle.dumps(Trap(), protocol)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="is a pickle"):
        load(tmp_path / name)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(content)
    assert (tmp_path / "sprung").exists()


def test_a_header_length_that_looks_like_a_pickle(path):
    """0x280 bytes of header begin with \\x80\\x02, as a pickle does."""
    text = path.read_bytes()
    length = int.from_bytes(text[:8], "little")
    assert length < 0x280
    header = text[8 : 8 + length].ljust(0x280)
    path.write_bytes((0x280).to_bytes(8, "little") + header + text[8 + length :])
    assert same(load(path), make_net())


def test_config_json_beside_a_file_without_metadata(path, tmp_path):
    header = read_header(path)
    rewrite(path, unchanged, {})
    with pytest.raises(CheckpointError, match="does not say which model it is"):
        load(path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(header))
    assert same(load(path, config_file=config), make_net())
    for broken in ("{", "[]", '{"format_version": 1}', json.dumps(header | {"config": 3})):
        config.write_text(broken)
        with pytest.raises(CheckpointError, match=r"config\.json is not a derefl header"):
            load(path, config_file=config)
    config.write_text(json.dumps(header | {"format_version": 2}))
    with pytest.raises(CheckpointError, match=r"config\.json has format version 2"):
        load(path, config_file=config)


def test_config_json_has_to_agree_with_the_file(path, tmp_path):
    header = read_header(path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(header))
    assert same(load(path, config_file=config), make_net())
    config.write_text(json.dumps(header | {"config": {"width": 4}}))
    with pytest.raises(CheckpointError, match="disagree on depths: "):
        load(path, config_file=config)
    config.write_text(json.dumps(header | {"kind": "lcdh-student"}))
    with pytest.raises(CheckpointError, match=r"disagree on \(kind\): "):
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
