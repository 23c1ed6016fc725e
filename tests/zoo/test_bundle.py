"""Bundling a checkpoint: facts come from the file, training and scores are emptied."""

import json

import bundle
import torch

from derefl.zoo import file_sha256, find_model, load_checkpoint, manifest, save_checkpoint
from tests.zoo.net import build, make_net


def test_bundle_replaces_the_entry_and_empties_its_claims(tmp_path, monkeypatch):
    package = tmp_path / "derefl"
    package.mkdir()
    listed = {"format_version": 1, "models": []}
    (package / manifest.MANIFEST).write_text(json.dumps(listed))
    for module in (manifest, bundle):
        monkeypatch.setattr(module, "package_folder", lambda: package)
    net = make_net()
    trained = tmp_path / "model.safetensors"
    save_checkpoint(net, trained, kind="derefl", config=vars(net.config))
    bundle.main([str(trained), "net"])

    written = json.loads((package / manifest.MANIFEST).read_text())
    written["models"][0]["scores"] = [
        {"dataset": "real20", "protocol": "native8", "n": 20, "command": "…", "psnr": 99.0}
    ]
    (package / manifest.MANIFEST).write_text(json.dumps(written))
    bundle.main([str(trained), "net"])

    entry = find_model("net", "derefl")
    weights = package / "weights" / "net.safetensors"
    assert entry.where.bundled == "weights/net.safetensors"
    assert (entry.bytes, entry.sha256) == (weights.stat().st_size, file_sha256(trained))
    assert entry.parameters == sum(p.numel() for p in net.parameters())
    assert (entry.dtype, entry.scores, entry.training) == ("float16", [], {})
    assert entry.licence == "not stated"
    loaded = load_checkpoint(weights, kind="derefl", build=build, sha256=entry.sha256)
    torch.testing.assert_close(loaded.state_dict(), net.state_dict(), atol=1e-3, rtol=1e-3)
