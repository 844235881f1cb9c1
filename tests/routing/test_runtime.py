"""What survives a change of the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from breakeven.config import parse
from breakeven.errors import InputError
from breakeven.routing.runtime import Runtime

TARGET = ("p", "m")


def configured(**provider: Any) -> Any:
    return parse(
        {"providers": {"p": {"base_url": "https://a.example/v1", **provider}}, "policy": {"breaker_failures": 1}}
    )


def failing() -> Runtime:
    runtime = Runtime(configured(requests_per_minute=5), clock=lambda: 0.0)
    runtime.breakers.failed(TARGET)
    return runtime


def test_a_provider_that_stays_keeps_its_breaker_and_its_limiter() -> None:
    runtime = failing()
    limiter = runtime.limiters.of("p")

    runtime.reconfigure(configured(requests_per_minute=5, region="eu"))

    assert runtime.breakers.state(TARGET) == "open"
    assert runtime.limiters.of("p") is limiter


def test_a_provider_that_moves_starts_afresh() -> None:
    runtime = failing()
    limiter = runtime.limiters.of("p")

    runtime.reconfigure(configured(requests_per_minute=5, base_url="https://b.example/v1"))

    assert runtime.breakers.state(TARGET) == "closed"
    assert runtime.limiters.of("p") is not limiter


def test_what_is_not_configured_by_name_keeps_its_breaker() -> None:
    runtime = failing()
    runtime.breakers.failed(("engine", "llama"))

    runtime.reconfigure(configured())

    assert runtime.breakers.state(("engine", "llama")) == "open"


def test_the_way_of_retrying_follows_the_settings() -> None:
    runtime = failing()

    runtime.reconfigure(parse({"policy": {"retries": 7}}))

    assert runtime.retry.retries == 7


def test_a_gate_whose_function_is_not_there_is_refused_and_nothing_changes() -> None:
    runtime = failing()
    broken = parse({"policy": {"retries": 7}, "tasks": {"t": {"gates": {"check": "no_such_module_here:f"}}}})

    with pytest.raises(InputError, match="no_such_module_here"):
        runtime.reconfigure(broken)
    with pytest.raises(InputError, match="no_such_module_here"):
        Runtime(broken, clock=lambda: 0.0)

    assert runtime.retry.retries == 2
    assert runtime.breakers.state(TARGET) == "open"
