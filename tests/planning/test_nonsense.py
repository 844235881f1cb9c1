"""Whatever one types, a scenario is refused with its key and range, or answered with finite, possible figures."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.planning.conftest import ON, FixedPrices

from breakeven.errors import InputError, KeyedInputError, ScenarioError
from breakeven.planning.document import document
from breakeven.planning.plan import Plan, make_plan
from breakeven.planning.scenario import Scenario, parse

NUMBERS = (
    st.integers(-10, 10)
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from([0, -0.0, 1e-300, 1e300, 5e-324, 1, 2, 100, 1000, 10**6, 10**9])
    | st.sampled_from(["nan", "inf", "-inf", "-1", "0", "1e400", "1e-400", "0.5", "many", "", "1_000", "\u0661"])
)
WORDS = st.sampled_from(
    ["m4-max-128", "m3-ultra-256", "2x-rtx-4090", "dgx-spark", "DE", "none", "llama-3.3-70b-q4_k_m", "a/b", ""]
)
VALUES = NUMBERS | WORDS | st.booleans() | st.none() | st.lists(NUMBERS, max_size=4)
KEYS = [
    (section, key)
    for section, field in Scenario.model_fields.items()
    if hasattr(field.annotation, "model_fields")
    for key in field.annotation.model_fields  # type: ignore[union-attr]
    if key not in {"draws", "seed"}
]


def bounds(key: tuple[str, str]) -> list[Any]:
    """The ends of what a key allows, and the numbers just outside and inside them."""
    field = Scenario.model_fields[key[0]].annotation.model_fields[key[1]]  # type: ignore[union-attr]
    ends = [getattr(rule, word) for rule in field.metadata for word in ("ge", "gt", "le", "lt") if hasattr(rule, word)]
    near = [end * factor for end in ends for factor in (type(end)(1), type(end)(2))] + [end - 1 for end in ends]
    return near + [end / 2 for end in ends] + [0, 1]


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[tuple[str, str], Any]]:
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True))
    return [(key, draw(st.sampled_from(bounds(key)) | VALUES)) for key in keys]


SOUND = {
    "workload": {"requests_per_day": 500},
    "box": {"machine": "m4-max-128"},
    "doubt": {"draws": 100},
}


def with_values(changes: list[tuple[tuple[str, str], Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {section: dict(table) for section, table in SOUND.items()}
    for (section, key), value in changes:
        made.setdefault(section, {})[key] = value
        if key in {"agents", "tokens_monthly"} and section == "workload":
            made["workload"].pop("requests_per_day", None)
    return made


def answered(what: dict[str, Any]) -> Plan | None:
    try:
        return make_plan(parse(what), FixedPrices(), ON)
    except InputError as error:
        if isinstance(error, KeyedInputError) and not (error.key and error.allowed):
            raise AssertionError("an error without its key or what is allowed") from error
        return None


def numbers(value: Any, path: str = "") -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in numbers(inner, f"{path}.{key}")]
    if isinstance(value, list | tuple):
        return [found for inner in value for found in numbers(inner, path)]
    if isinstance(value, Decimal | float | int) and not isinstance(value, bool):
        return [(path, float(value))]
    return []


def check(plan: Plan) -> None:
    found = numbers(document(plan))
    assert all(math.isfinite(number) for _, number in found), [path for path, n in found if not math.isfinite(n)]
    never_negative = ("usd_monthly", "boxes", "seconds", "tokens", "gib", "probability")
    for path, number in found:
        if any(path.rsplit(".", 1)[-1].endswith(word) for word in never_negative) and "saved" not in path:
            assert number >= 0, path
    if plan.likelihood is not None:
        assert 0 <= plan.likelihood.probability_local_wins <= 1
    assert "nan" not in plan.verdict.sentence.lower()
    assert "inf " not in plan.verdict.sentence.lower()


@pytest.mark.parametrize(
    ("section", "key", "value", "allowed"),
    [
        ("workload", "requests_per_day", 1e-300, "0.01 to 1,000,000,000"),
        ("workload", "burst_topics", 10**6, "1 to 2,000"),
        ("serving", "utilisation", 1, "0.01 to less than 1"),
        ("serving", "prefill_tokens_per_second", 0, "0.01 to 10,000,000"),
        ("box", "resale_usd", "9000", "0 to 3499, the price of the box"),
        ("cloud", "usd_per_million", "-3", "0.000001 to 100,000"),
        ("box", "purchase_usd", "nan", "finite"),
        ("escalation", "share", "2", "0 to 1"),
        ("cloud", "price_decay_yearly", [0.5, 0.2, 0.1], "rising shares"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key_and_the_range_allowed(
    section: str, key: str, value: Any, allowed: str
) -> None:
    with pytest.raises(ScenarioError) as refused:
        make_plan(parse(with_values([((section, key), value)])), FixedPrices(), ON)

    assert refused.value.key == f"{section}.{key}"
    assert str(value) in str(refused.value)
    assert allowed in refused.value.allowed


@given(changes())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_value_of_any_key_gives_a_number_silently(values: list[tuple[tuple[str, str], Any]]) -> None:
    plan = answered(with_values(values))
    if plan is not None:
        check(plan)
