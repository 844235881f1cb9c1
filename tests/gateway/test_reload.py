"""The configuration changes under a running gateway: calls in flight end as they began, a bad file changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import openai
import pytest
from tests.fakes.cloud import SimulatedCloud
from tests.fakes.upstream import Upstream
from tests.gateway.conftest import RunningGateway
from tests.gateway.desks import KEYS, desk
from tests.gateway.test_chat import HELLO

from breakeven.errors import InputError

Serve = Callable[..., RunningGateway]


def served_by(gateway: RunningGateway, model: str) -> str:
    raw = gateway.client().chat.completions.with_raw_response.create(model=model, messages=HELLO)
    return str(raw.headers["x-breakeven-served-by"]).split("/")[0]


def test_one_line_swaps_the_provider_while_a_stream_runs(serve: Serve, sky: SimulatedCloud, fake: Upstream) -> None:
    before = desk(sky, fake)
    before["models"]["frontier"] = {"provider": "house", "model": "gated"}
    gateway = serve(before, KEYS)
    stream = gateway.client().chat.completions.create(model="frontier", messages=HELLO, stream=True)
    words = [next(stream).choices[0].delta.content]
    after = desk(sky, fake)
    after["models"]["frontier"]["provider"] = "claude"
    after["models"]["frontier"]["model"] = after["models"]["claude"]["model"]
    del after["providers"]["house"], after["models"]["local"]
    gateway.reload(after)
    assert served_by(gateway, "frontier") == "claude"
    fake.gate.set()
    words += [choice.delta.content for chunk in stream for choice in chunk.choices]
    assert "".join(word or "" for word in words) == "one two three"
    with pytest.raises(openai.NotFoundError):
        served_by(gateway, "local")
    assert [call.outcome for call in gateway.calls()] == ["completed", "completed"]


def test_settings_that_cannot_be_carried_out_leave_the_old_ones(
    serve: Serve, sky: SimulatedCloud, fake: Upstream
) -> None:
    gateway = serve(desk(sky, fake), KEYS)
    broken = desk(sky, fake)
    broken["providers"]["claude"]["key"] = "env:NOT_SET"
    broken["models"]["frontier"]["provider"] = "claude"
    with pytest.raises(InputError, match="NOT_SET"):
        gateway.reload(broken)
    assert served_by(gateway, "frontier") == "gpt"


def test_settings_that_are_refused_late_leave_keys_and_budgets_as_they_were(
    serve: Serve, sky: SimulatedCloud, fake: Upstream
) -> None:
    gateway = serve(desk(sky, fake), {**KEYS, "NEW_KEY": "a-secret-of-enough-length"})
    broken = desk(
        sky, fake, keys={"new": {"secret": "env:NEW_KEY"}}, tasks={"tag": {"gates": {"check": "nowhere:nothing"}}}
    )
    with pytest.raises(InputError, match="nowhere"):
        gateway.reload(broken)
    assert served_by(gateway, "frontier") == "gpt"
