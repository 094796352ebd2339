"""Configs: defaults, checks, files, overrides; bad input is one line that names the field."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

import sicjax
from sicjax import config as C
from sicjax.config.fields import FIELDS
from sicjax.config.files import describe_configs, from_json, load_config, to_json
from sicjax.errors import ConfigError
from sicjax.network.losses import TERMS, LossSettings
from sicjax.training.population import members, of_variant

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_file_is_valid_and_says_what_it_does(path):
    C.validate(load_config(path))
    text = path.read_text()
    assert f"python -m sicjax.main --config=configs/{path.name}" in text


def test_paper_config_is_the_paper():
    config = load_config(CONFIGS[0].parent / "paper.py")
    assert (config.data.num_trajectories, config.data.trajectory_length) == (130, 60)
    assert (config.model.num_units, config.model.num_layers) == (128, 3)
    loss = config.loss
    assert (loss.separation, loss.invariance, loss.capacity) == (1.0, 0.1, 0.5)
    assert (loss.sigma_x, loss.sigma_g, loss.reduction) == (0.05, 0.4, "sum")
    options = config.optimizer
    assert (options.learning_rate, options.clip, options.accumulation) == (2e-5, 0.1, 2)
    assert (options.schedule, config.num_steps) == ("plateau", 2_000_000)


def test_json_round_trip():
    config = C.default()
    config.loss.capacity = 3.0
    again = from_json(to_json(config))
    assert C.flatten(again) == C.flatten(config)
    assert C.difference(config, again) is None


def test_variants_are_crossed_with_seeds():
    config = C.default()
    config.seed, config.num_networks = 7, 2
    config.variants = {"b": {"loss.capacity": 0}, "a": {"data.permute": False}}
    C.validate(config)
    assert members(config) == [("b", 7), ("b", 8), ("a", 7), ("a", 8)]
    assert of_variant(config, "b").loss.capacity == 0
    assert of_variant(config, "a").loss.capacity == 0.5
    assert not of_variant(config, "a").data.permute
    assert of_variant(config, "a").variants == {}
    again = from_json(to_json(config))
    assert list(again.variants) == ["b", "a"]
    assert C.difference(config, again) is None
    again.variants = {"b": {"loss.capacity": 1}, "a": {"data.permute": False}}
    assert C.difference(config, again).startswith("variants was")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('{"a": {"loss.capasity": 1}}', "loss.capacity"),
        ('{"a": {"model.num_units": 8}}', "model.num_units"),
        ('{"a": {"loss.capacity": "much"}}', "loss.capacity"),
        ('{"a": {"loss.sigma_g": 0}}', "loss.sigma_g"),
        ('{"a": {"loss.capacity": 1' + 400 * "0" + "}}", "loss.capacity"),
        ('{"b": {}, "a": {"loss.min_step": 0.05}}', "loss.min_step"),
        ('{"a": {"data.permute": 1}}', "data.permute"),
        ('{"a": 3}', "variants"),
        ('{"": {}}', "variants"),
        ('{"a\\nb": {}}', "variants"),
        ("[]", "variants"),
        ("{", "variants"),
    ],
)
def test_variants_that_cannot_be_used(table, message):
    config = C.default()

    def use():
        C.set_field(config, "variants", table)
        C.validate(config)

    with pytest.raises(ConfigError) as error:
        use()
    assert message in str(error.value)
    assert str(error.value).startswith("variants")
    assert "\n" not in str(error.value)


def test_difference_names_the_first_field_that_changes_numbers():
    old, new = C.default(), C.default()
    new.num_steps, new.log_every, new.report = 3, 7, False
    assert C.difference(old, new) is None
    new.loss.sigma_g = 0.3
    assert C.difference(old, new) == "loss.sigma_g was 0.4, now 0.3"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("loss.capasity", "1", "loss.capacity"),
        ("sigma_g", "1", "loss.sigma_g"),
        ("model.num_units", "12.5", "num_units"),
        ("model.num_units", "many", "num_units"),
        ("loss.sigma_x", "wide", "sigma_x"),
        ("report", "perhaps", "report"),
        ("zzz", "1", "zzz"),
        ("stages.settling.model.num_units", "8", r"must be stages\.NAME\.FIELD, .*num_steps"),
        ("stages.loss.capacity", "8", r"must be stages\.NAME\.FIELD"),
        ("variants.a.num_steps", "8", r"must be variants\.NAME\.FIELD"),
        ("stages.settling.num_steps", "many", "must be an integer"),
        ("stages.settling.num_steps", "8", "the config's stages are empty"),
    ],
)
def test_overrides_are_refused(name, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        C.set_field(C.default(), name, text)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_an_override_of_one_field_of_a_stage_or_variant():
    config = C.load_config("full")
    before = config.copy_and_resolve_references()
    C.set_field(config, "stages.settling.num_steps", "2e4")
    C.set_field(config, "stages.settling.loss.invariance", "0.8")
    wanted = before.stages["settling"] | {"num_steps": 20_000, "loss.invariance": 0.8}
    assert config.stages == {"lattices": before.stages["lattices"], "settling": wanted}
    config.variants = {"a.b": {"loss": {"capacity": 1.0}}}
    C.set_field(config, "variants.a.b.loss.capacity", "2")
    assert config.variants == {"a.b": {"loss.capacity": 2.0}}
    C.validate(config)
    for name in ("stages.x.num_steps", "stages.x\n.num_steps"):
        with pytest.raises(ConfigError, match=r"^stages\.x.*: .* are 'lattices', 'settling'$"):
            C.set_field(config, name, "3")


def test_an_override_of_what_a_config_lacks():
    for config in (ConfigDict(), ConfigDict({"loss": {}}).lock(), ConfigDict({"loss": 3})):
        with pytest.raises(ConfigError, match=r"^loss\.capacity: missing; start from") as error:
            C.set_field(config, "loss.capacity", "1")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.num_trajectories", "0"),
        ("data.trajectory_length", "-3"),
        ("model.num_units", "0"),
        ("model.hidden_width", "0"),
        ("num_networks", "0"),
        ("num_steps", "0"),
        ("seed", "-1"),
        ("loss.sigma_x", "-0.05"),
        ("loss.sigma_g", "0"),
        ("loss.min_step", "-0.01"),
        ("loss.min_step", "0.05"),
        ("loss.capacity", "nan"),
        ("loss.separation", "inf"),
        ("optimizer.learning_rate", "nan"),
        ("optimizer.learning_rate", "-1e-3"),
        ("optimizer.schedule", "linear"),
        ("parallel", "everything"),
        ("loss.reduction", "median"),
        ("optimizer.warmup_steps", 30 * "9"),
        ("data.trajectory_length", "4294967296"),
        ("model.num_layers", "1e9"),
    ],
)
def test_values_out_of_range_are_refused(name, text):
    config = C.default()
    C.set_field(config, name, text)
    with pytest.raises(ConfigError, match=f"^{name}=") as error:
        C.validate(config)
    assert "must be" in str(error.value)


@given(
    name=st.sampled_from(sorted(FIELDS)),
    value=st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.booleans()),
)
def test_any_value_is_either_right_or_refused_in_one_line(name, value):
    config = C.default().unlock()
    section, _, leaf = name.rpartition(".")
    node = config[section] if section else config
    with node.ignore_type():
        node[leaf] = value
    try:
        C.validate(config)
    except ConfigError as error:
        assert str(error).startswith(name)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert FIELDS[name].rule.holds(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("x = 1", "must define get_config"),
        ("def get_config(): return 3", "ConfigDict"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import sys\ndef get_config(): sys.exit(0)", "SystemExit: 0"),
        (
            "from ml_collections import FrozenConfigDict\nfrom sicjax.config import default\n"
            "def get_config(): return FrozenConfigDict(default())",
            "a FrozenConfigDict, which is not a config",
        ),
        (
            "from sicjax.config import default\n"
            "def get_config():\n    c = default()\n    c.loss.sigma = 1\n    return c",
            r"py: sigma: no such field; did you mean loss\.sigma_[xg]\?$",
        ),
    ],
)
def test_config_files_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.py")


def test_every_field_is_described():
    text = C.describe()
    for name, field in FIELDS.items():
        assert f"{name}=" in text
        assert field.source in ("paper", "inferred", "ours")
        assert field.meaning


def test_help_lists_configs_and_what_is_right():
    text = describe_configs()
    for path in CONFIGS:
        assert f"configs/{path.name}  " in text
    assert "Grid cells in minutes" in text
    assert "loss.sigma_x=0.05" in C.describe()
    assert "; positive and finite" in C.describe()


def test_a_name_that_no_file_can_have_is_one_line(tiny_config):
    long = "quick" * 1000
    with pytest.raises(ConfigError, match=r"^--config=quick") as error:
        load_config(long)
    assert len(str(error.value)) < 300
    tiny_config.start_from = long
    with pytest.raises(ConfigError, match=r"^start_from=quick"):
        sicjax.train(tiny_config)


def test_weights_and_scales_of_the_loss_may_vary():
    """A term's weight is found by its name, in the config and in the traced settings."""
    fields = {name for name in FIELDS if name.startswith("loss.")} - {"loss.reduction"}
    assert fields == {f"loss.{name}" for name in LossSettings._fields}
    assert fields <= {*C.VARIED}
    assert fields <= {*C.STAGED}
    assert {f"loss.{name}" for name in TERMS} <= fields


def test_report_takes_a_word_besides_true_and_false():
    config = C.default()
    for text, value in [("scores", "scores"), ("false", False), ("1", True)]:
        C.set_field(config, "report", text)
        C.validate(config)
        assert from_json(to_json(config)).report is value or value == "scores" == config.report
    config.report = "scores"
    assert from_json(to_json(config)).report == config.copy_and_resolve_references().report
    config.report = "score"
    with pytest.raises(ConfigError, match=r"^report="):
        C.validate(config)
