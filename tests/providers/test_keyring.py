"""Keys take turns, and those that were limited or refused rest."""

from __future__ import annotations

import pytest

from breakeven.errors import RateLimited
from breakeven.providers.keyring import KeyRing


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_calls_take_turns_with_the_keys() -> None:
    ring = KeyRing("cloud", ["a", "b", "a"])
    assert [ring.take() for _ in range(4)] == ["a", "b", "a", "b"]


def test_a_key_that_was_limited_rests_as_long_as_asked_and_a_refused_one_for_the_cooldown() -> None:
    clock = Clock()
    ring = KeyRing("cloud", ["a", "b", "c"], cooldown=60, clock=clock)
    ring.note("a", 429, "5")
    ring.note("b", 401)
    ring.note("c", 500)

    assert [ring.take() for _ in range(2)] == ["c", "c"]
    assert ring.resting == 2
    clock.now = 5
    assert {ring.take() for _ in range(2)} == {"a", "c"}
    clock.now = 60
    assert {ring.take() for _ in range(3)} == {"a", "b", "c"}


def test_when_all_rest_the_error_says_until_when_and_shows_no_key() -> None:
    clock = Clock()
    ring = KeyRing("cloud", ["sk-a", "sk-b"], clock=clock)
    ring.note("sk-a", 429, "20")
    ring.note("sk-b", 429, "7")

    with pytest.raises(RateLimited, match="all 2 keys") as caught:
        ring.take()
    assert caught.value.retry_after_seconds == 7
    assert "sk-" not in str(caught.value)


def test_a_single_key_never_rests_and_no_key_is_none() -> None:
    ring = KeyRing("cloud", ["a"])
    ring.note("a", 429, "20")
    assert ring.take() == "a"
    assert KeyRing("local").take() is None


@pytest.mark.parametrize("nonsense", ["\u00b2", "9" * 400, "-5", "soon"])
def test_a_rest_that_means_nothing_is_the_cooldown(nonsense: str) -> None:
    clock = Clock()
    ring = KeyRing("p", ["a", "b"], 60, clock)
    assert ring.note("a", 429, nonsense)
    assert ring.take() == ring.take() == "b"
    clock.now = 61
    assert {ring.take() for _ in range(2)} == {"a", "b"}
