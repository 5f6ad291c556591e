"""Settings: YAML in and out, wrong keys named, contradictions refused before a run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rsuper.config import OptimisationConfig, RunConfig, load_config, with_network
from rsuper.data.batches import SamplingConfig
from rsuper.errors import UsageError
from rsuper.networks import NetworkConfig


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    rate=st.floats(1e-8, 1.0),
    axes=st.lists(st.sampled_from([0, 1, 2]), unique=True),
    levels=st.integers(3, 5),
)
def test_yaml_comes_back_the_same(seed, rate, axes, levels, tmp_path_factory):
    config = RunConfig(
        seed=seed,
        network=NetworkConfig(levels=levels),
        sampling=SamplingConfig(patch_size=(16, 32, 48), mirror_axes=tuple(axes)),
        optimisation=OptimisationConfig(learning_rate=rate),
    )
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(path) == config


def test_an_empty_file_is_all_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("")
    assert load_config(tmp_path / "c.yaml") == RunConfig()


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("optimisation: {stepz: 3}", "config_invalid", "optimisation.stepz"),
        ("optimisation: {steps: -1}\nseed: x", "config_invalid", "seed"),
        ("sampling: {patch_size: [100, 96, 96]}", "config_invalid", "multiples of 16"),
        ("network: {name: custom}", "config_invalid", "factory"),
        ("a: [", "config_invalid", "not valid YAML"),
        ("- 1", "config_invalid", "settings"),
        ("!!python/object/apply:os.getcwd []", "config_invalid", "not valid YAML"),
        (b"\xff\xfe\x00", "config_invalid", "not valid YAML"),
        (None, "config_missing", "cannot read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, code, named):
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert caught.value.code == code
    assert named in str(caught.value)


def test_settings_do_not_change(tmp_path):
    with pytest.raises(ValidationError):
        RunConfig().seed = 3
    with pytest.raises(ValidationError):
        OptimisationConfig(learning_rate=float("inf"))
    assert OptimisationConfig(warmup_steps=3, steps=4).total_steps == 7


def test_a_network_of_ones_own_comes_from_the_command_line():
    assert with_network(RunConfig(), None) == RunConfig()
    config = with_network(RunConfig(), "package.module:function")
    assert (config.network.name, config.network.factory) == ("custom", "package.module:function")
