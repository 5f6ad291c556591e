"""Networks by name: full-resolution heads, configurations that cannot work are refused early."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from rsuper.errors import ResourceError, UsageError
from rsuper.networks import NetworkConfig, build_network, predict_probabilities, require_device
from rsuper.networks.build import PRIOR_LOGIT


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        (NetworkConfig(width=4, levels=3), 1),
        (NetworkConfig(width=4, levels=3, deep_supervision=True), 2),
        (NetworkConfig(name="segresnet", width=8, levels=2), 1),
    ],
)
def test_every_head_has_full_resolution(config, heads):
    network = build_network(config, 3)
    image = torch.randn(2, 1, 16, 8, 24)
    trained = network.train()(image)
    assert [tuple(head.shape) for head in trained] == [(2, 3, 16, 8, 24)] * heads
    assert [tuple(head.shape) for head in network.eval()(image)] == [(2, 3, 16, 8, 24)]


def test_the_final_head_starts_at_the_prior():
    network = build_network(NetworkConfig(width=4, levels=3), 2).eval()
    with torch.no_grad():
        logits = network(torch.zeros(1, 1, 8, 8, 8))[0]
    assert logits.mean().item() == pytest.approx(PRIOR_LOGIT, abs=0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "custom"},
        {"factory": "a:b"},
        {"deep_supervision": True, "levels": 2},
        {"deep_supervision": True, "name": "segresnet"},
        {"name": "transformer"},
        {"width": 1},
    ],
)
def test_configurations_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValidationError):
        NetworkConfig(**wrong)


def test_code_of_a_custom_network_runs_only_if_a_person_names_it():
    config = NetworkConfig(name="custom", factory="toy_data:TinyNetwork")
    assert (
        build_network(config, 2, factory="toy_data:TinyNetwork")(torch.zeros(1, 1, 4, 4, 4))[0].shape[1] == 2
    )
    with pytest.raises(UsageError) as caught:
        build_network(config, 2)
    assert caught.value.code == "network_not_given"
    for path in ("no_such_module:f", "toy_data:nothing", "toy_data", ":"):
        with pytest.raises(UsageError) as caught:
            build_network(NetworkConfig(name="custom", factory=path), 2, factory=path)
        assert caught.value.code == "unknown_network"


def test_devices_are_checked_first():
    assert require_device("cpu").type == "cpu"
    with pytest.raises(UsageError) as caught:
        require_device("gpu")
    assert caught.value.code == "bad_device"
    if not torch.cuda.is_available():
        with pytest.raises(ResourceError) as missing:
            require_device("cuda:0")
        assert (missing.value.code, missing.value.exit_code) == ("device_missing", 5)


class Identity(torch.nn.Module):
    """Logits that are the image."""

    def forward(self, image):
        return [torch.cat([image, -image], dim=1).float()]


@pytest.mark.parametrize("shape", [(20, 24, 18), (5, 40, 9), (3, 3, 3)])
def test_windows_are_put_together_where_they_came_from(shape):
    image = torch.randn(1, *shape)
    found = predict_probabilities(Identity(), image, patch_size=(8, 8, 8))
    expected = torch.sigmoid(torch.cat([image, -image]))
    assert tuple(found.shape) == (2, *shape)
    assert torch.allclose(found, expected, atol=1e-5)


class Neighbours(torch.nn.Module):
    """Logits that say how low the lowest voxel of the window is: what padding looks like."""

    def forward(self, image):
        return [image.amin(dim=(2, 3, 4), keepdim=True).expand_as(image).float()]


def test_padding_is_as_low_as_the_image_like_in_training():
    image = torch.full((1, 4, 4, 4), 2.0)
    image[0, 0, 0, 0] = 1.5
    found = predict_probabilities(Neighbours(), image, patch_size=(8, 8, 8))
    assert torch.allclose(found, torch.sigmoid(torch.tensor(1.5)).expand_as(found), atol=1e-5)
