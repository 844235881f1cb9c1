from decimal import Decimal

import pytest

from breakeven.catalog.machines import box_cost, box_figures, find_machine, machines
from breakeven.catalog.tariffs import default_tariff, find_tariff, tariffs
from breakeven.config import BoxSettings
from breakeven.errors import ScenarioError, UnknownMachine


def test_every_figure_of_the_catalogue_names_its_source_and_date():
    for machine in machines():
        figures = [machine.memory_gib, machine.bandwidth_gb_s, machine.price_usd, machine.idle_watts]
        figures += [machine.load_watts, *(f for speed in machine.speeds for f in (speed.prefill, speed.decode))]
        for figure in filter(None, figures):
            assert figure.source, machine.key
            assert figure.as_of, machine.key
            assert 0 < figure.low <= figure.high


def test_ranges_are_kept_and_their_midpoint_is_used():
    idle = find_machine("m4-max-128").idle_watts

    assert (idle.low, idle.high, idle.value) == (6, 12, 9)


def test_macos_wires_three_quarters_of_the_memory():
    assert find_machine("m4-max-128").usable_memory_gib == 96
    assert find_machine("2x-rtx-3090").usable_memory_gib == 48


def test_an_unknown_machine_is_answered_with_those_that_look_alike():
    with pytest.raises(UnknownMachine, match="m4-max-128"):
        find_machine("m4-max")


def test_a_named_machine_has_a_cost():
    cost = box_cost(BoxSettings(machine="m4-max-128"))

    assert (cost.purchase_usd, cost.idle_watts, cost.load_watts) == (3499, 9, Decimal("132.5"))
    assert cost.usd_per_kwh == Decimal("0.17")


def test_what_the_configuration_says_replaces_the_catalogue_and_says_so():
    settings = BoxSettings(machine="m4-max-128", purchase_usd=Decimal(6000), usd_per_kwh=Decimal("0.3"))
    figures = box_figures(settings)

    assert box_cost(settings).purchase_usd == 6000
    assert figures.purchase_usd.kind == "configured"
    assert figures.usd_per_kwh.source == "configuration"
    assert figures.load_watts.kind == "published"


def test_a_box_owned_already_costs_nothing_and_that_is_not_unknown():
    assert box_cost(BoxSettings(machine="m4-max-128", purchase_usd=Decimal(0))).purchase_usd == 0


def test_a_box_of_which_too_little_is_known_has_no_cost_and_says_what_is_missing():
    assert box_cost(BoxSettings()) is None
    assert box_figures(BoxSettings()).missing == ("purchase_usd", "idle_watts", "load_watts")
    assert box_figures(BoxSettings(machine="m2-ultra-192")).missing == ("purchase_usd",)


def test_cost_of_capital_care_and_pue_reach_the_cost():
    settings = BoxSettings(
        machine="m4-max-128",
        capital_rate_yearly=Decimal("0.05"),
        care_hours_monthly=Decimal(2),
        wage_usd_hourly=Decimal(50),
        pue=Decimal("1.2"),
    )
    cost = box_cost(settings)

    assert (1 + cost.capital_rate_monthly) ** 12 == pytest.approx(Decimal("1.05"))
    assert cost.care_usd_monthly == 100
    assert cost.pue == Decimal("1.2")


def test_every_tariff_names_its_source_and_date():
    for tariff in tariffs():
        assert tariff.usd_per_kwh.source
        assert tariff.usd_per_kwh.as_of
        assert Decimal("0.05") < tariff.usd_per_kwh.value < 1
    assert default_tariff().usd_per_kwh.value == Decimal("0.17")


def test_a_tariff_is_found_by_its_code_in_any_case():
    assert find_tariff("us-ca").usd_per_kwh.value == Decimal("0.2951")


def test_euro_prices_are_converted_at_a_rate_that_the_source_names():
    germany = find_tariff("DE").usd_per_kwh

    assert germany.value == Decimal("0.3835") * Decimal("1.0411")
    assert "1.0411 USD/EUR" in germany.source


def test_a_place_outside_the_table_is_refused_with_a_remedy():
    with pytest.raises(ScenarioError, match="from your bill"):
        find_tariff("XX")
