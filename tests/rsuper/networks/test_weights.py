"""Weights: safetensors only, every name and shape checked, the file on disk is what was meant."""

from __future__ import annotations

import hashlib
import pickle

import pytest
import torch

from rsuper.errors import DataError, UsageError
from rsuper.networks import NetworkConfig, build_network, load_into, load_weights, own_tensors, save_weights

CONFIG = NetworkConfig(width=4, levels=3)


class Canary:
    """Says so if it is ever unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_tensors_and_metadata_come_back(tmp_path):
    network = build_network(CONFIG, 3)
    path = tmp_path / "w.safetensors"
    digest = save_weights(path, own_tensors(network), metadata={"a": [1, None, "ü"]})
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    tensors, metadata = load_weights(path)
    assert metadata == {"a": [1, None, "ü"]}
    other = build_network(CONFIG, 3)
    load_into(other, tensors, source="w")
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(network.eval()(image)[0], other.eval()(image)[0])


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ckpt", "w.pkl", "w.bin", "w.safetensors", "w"])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_pickles_are_refused_whatever_they_are_called(tmp_path, name, form):
    path = tmp_path / name
    if form == "pickle":
        path.write_bytes(pickle.dumps(Canary()))
    else:
        torch.save({"w": torch.zeros(2)}, path)
    with pytest.raises(UsageError) as caught:
        load_weights(path)
    assert caught.value.code == "pickle_refused"
    assert "safetensors" in caught.value.hint


@pytest.mark.parametrize("damage", ["truncated", "header", "huge_header", "empty", "missing"])
def test_broken_files_are_named(tmp_path, damage):
    path = tmp_path / "w.safetensors"
    save_weights(path, {"w": torch.zeros(100)}, metadata={})
    content = path.read_bytes()
    broken = {
        "truncated": content[:-50],
        "header": content[:8] + b"}" + content[9:],
        "huge_header": (1 << 60).to_bytes(8, "little") + content[8:],
        "empty": b"",
    }
    path.unlink() if damage == "missing" else path.write_bytes(broken[damage])
    with pytest.raises(DataError) as caught:
        load_weights(path)
    assert caught.value.code == "weights_broken"


@pytest.mark.parametrize("change", ["shape", "missing", "extra"])
def test_the_first_tensor_that_does_not_fit_is_named(change):
    network = build_network(CONFIG, 3)
    tensors = {name: value.clone() for name, value in own_tensors(network).items()}
    name = sorted(tensors)[0]
    before = tensors[name].clone()
    if change == "shape":
        tensors[name] = torch.zeros(7)
    elif change == "missing":
        del tensors[name]
    else:
        name = "a_tensor_too_many"
        tensors[name] = torch.zeros(1)
    with pytest.raises(DataError, match=name.replace(".", r"\.")) as caught:
        load_into(network, tensors, source="w")
    assert caught.value.code == "weights_mismatch"
    if change != "extra":
        assert torch.equal(own_tensors(network)[name], before)  # nothing was copied
