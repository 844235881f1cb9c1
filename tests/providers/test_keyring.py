"""Keys take turns, and those that were limited or refused rest."""

from __future__ import annotations

import pytest

from breakeven.errors import RateLimited
from breakeven.providers.keyring import Key, KeyRing

A, B, C = (Key(f"env:{name.upper()}", f"sk-{name}") for name in "abc")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_calls_take_turns_with_the_keys() -> None:
    ring = KeyRing("cloud", [A, B, Key("env:A_TOO", "sk-a")])
    assert [ring.take() for _ in range(4)] == [A, B, A, B]


def test_a_key_that_was_limited_rests_as_long_as_asked_and_a_refused_one_for_the_cooldown() -> None:
    clock = Clock()
    ring = KeyRing("cloud", [A, B, C], cooldown=60, clock=clock)
    ring.note(A, 429, "5")
    ring.note(B, 401)
    ring.note(C, 500)

    assert [ring.take() for _ in range(2)] == [C, C]
    assert ring.resting == 2
    clock.now = 5
    assert {ring.take() for _ in range(2)} == {A, C}
    clock.now = 60
    assert {ring.take() for _ in range(3)} == {A, B, C}


def test_when_all_rest_the_error_says_until_when_and_shows_no_key() -> None:
    clock = Clock()
    ring = KeyRing("cloud", [A, B], clock=clock)
    ring.note(A, 429, "20")
    ring.note(B, 429, "7")

    with pytest.raises(RateLimited, match="all 2 keys") as caught:
        ring.take()
    assert caught.value.retry_after_seconds == 7
    assert "sk-" not in str(caught.value)


def test_a_single_key_never_rests_and_no_key_is_none() -> None:
    ring = KeyRing("cloud", [A])
    ring.note(A, 429, "20")
    assert ring.take() == A
    assert KeyRing("local").take() is None


@pytest.mark.parametrize("nonsense", ["\u00b2", "9" * 400, "-5", "soon"])
def test_a_rest_that_means_nothing_is_the_cooldown(nonsense: str) -> None:
    clock = Clock()
    ring = KeyRing("p", [A, B], 60, clock)
    assert ring.note(A, 429, nonsense)
    assert ring.take() == ring.take() == B
    clock.now = 61
    assert {ring.take() for _ in range(2)} == {A, B}


def test_a_key_shows_its_name_alone() -> None:
    assert "env:A" in repr(A)
    assert A.secret not in repr([A])
