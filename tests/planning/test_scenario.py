import pytest

from breakeven.errors import InputError, ScenarioError
from breakeven.planning.scenario import parse
from breakeven.planning.sources import at_path, laid_over, preset, preset_names, read_file


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_valid_scenario(name):
    assert parse(preset(name)).name


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("box.purchase_usd", "-1", "allowed: 0 to 10,000,000"),
        ("box.purchase_usd", "NaN", "finite"),
        ("box.usd_per_kwh", "17", "allowed: 0 to 5"),
        ("box.term_months", 0, "allowed: 1 to 240"),
        ("box.term_months", 1.5, "valid integer"),
        ("box.count", 0, "allowed: 1 to 10,000"),
        ("workload.input_tokens", -5, "allowed: 0 to 10,000,000"),
        ("workload.local_hit_rate", "1.2", "allowed: 0 to 1"),
        ("workload.requests_per_day", 0, "allowed: 0.01 to 1,000,000,000"),
        ("workload.requests_per_day", float("inf"), "finite"),
        ("workload.requests_per_day", float("nan"), "finite"),
        ("serving.utilisation", 1, "allowed: 0.01 to less than 1"),
        ("serving.decode_tokens_per_second", 0, "allowed: 0.01"),
        ("cloud.frontier", "sonnet", "pattern"),
        ("cloud.price_decay_yearly", [0.5, 0.1, 0.6], "rising"),
        ("escalation.share", "80", "allowed: 0 to 1"),
        ("box.colour", "red", "no such key"),
    ],
)
def test_a_wrong_value_is_answered_with_its_key_itself_and_what_is_allowed(key, value, allowed):
    with pytest.raises(ScenarioError) as caught:
        parse(at_path(key, value))

    assert caught.value.key.startswith(key)
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"workload": {"agents": 3, "tokens_monthly": 10}}, "workload.tokens_monthly"),
        ({"workload": {"input_tokens": 0, "output_tokens": 0}}, "workload.input_tokens"),
        ({"workload": {"input_tokens": 10, "prefix_tokens": 11}}, "workload.prefix_tokens"),
        ({"workload": {"input_tokens": 9000}}, "serving.context_tokens"),
        ({"box": {"idle_watts": 20, "load_watts": 10}}, "box.load_watts"),
        ({"box": {"purchase_usd": 100, "resale_usd": 200}}, "box.resale_usd"),
        ({"box": {"tariff": "DE", "usd_per_kwh": 0.3}}, "box.tariff"),
    ],
)
def test_values_that_contradict_each_other_are_refused(document, key):
    with pytest.raises(ScenarioError) as caught:
        parse(document)

    assert caught.value.key == key


def test_flags_are_laid_over_files_and_files_over_presets():
    base = preset("seed-agents")
    merged = parse(laid_over(laid_over(base, {"box": {"term_months": 24}}), at_path("workload.agents", 10)))

    assert (merged.workload.agents, merged.box.term_months, merged.box.machine) == (10, 24, "m4-max-128")


def test_an_unknown_preset_is_answered_with_those_there_are():
    with pytest.raises(ScenarioError, match="seed-agents"):
        preset("seed")


def test_a_file_that_is_not_toml_or_not_there_is_refused(tmp_path):
    broken = tmp_path / "plan.toml"
    broken.write_text("[box\n")

    with pytest.raises(InputError, match="not valid TOML"):
        read_file(broken)
    with pytest.raises(InputError, match="cannot be read"):
        read_file(tmp_path / "missing.toml")
