"""Providers behind the optional any-llm package: the package's own client against the simulated cloud."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from importlib.util import find_spec

import openai
import pytest
from tests.fakes.cloud import GPT, SimulatedCloud
from tests.gateway.conftest import RunningGateway
from tests.gateway.desks import KEYS, desk
from tests.gateway.test_chat import HELLO

from breakeven import config
from breakeven.errors import InputError
from breakeven.gateway.servers import Servers

Serve = Callable[..., RunningGateway]


def through_any_llm(sky: SimulatedCloud) -> dict[str, object]:
    document = desk(sky)
    document["providers"]["gpt"] = {
        "any_llm": "openai",
        "base_url": f"{sky.url}/v1",
        "locality": "remote",
        "catalog": "openai",
        "key": "env:GPT_KEY",
    }
    return document


@pytest.mark.skipif(find_spec("any_llm") is not None, reason="any-llm is installed here")
def test_without_the_package_the_remedy_is_named(sky: SimulatedCloud) -> None:
    settings = config.parse(through_any_llm(sky))
    with pytest.raises(InputError, match=r"pip install 'breakeven\[any-llm\]'"):
        Servers(KEYS).configure(settings.providers, 60)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_through_the_package_is_metered_and_priced(serve: Serve, sky: SimulatedCloud, stream: bool) -> None:
    pytest.importorskip("any_llm", reason="needs breakeven[any-llm], which newer anthropic packages exclude")
    gateway = serve(through_any_llm(sky), KEYS)
    client = gateway.client().chat.completions
    if stream:
        chunks = list(client.create(model="gpt", messages=HELLO, stream=True))
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    else:
        text = client.create(model="gpt", messages=HELLO).choices[0].message.content or ""
    assert text
    (attempt,) = gateway.calls()[0].attempts
    assert attempt.counted_by == "provider"
    assert attempt.money.billed is not None
    assert attempt.money.billed * 1_000_000 == Decimal(sky.invoice()["micro_usd"])
    assert attempt.model_asked == GPT


def test_a_refusal_keeps_its_kind(serve: Serve, sky: SimulatedCloud) -> None:
    pytest.importorskip("any_llm", reason="needs breakeven[any-llm], which newer anthropic packages exclude")
    sky.order(*["429"] * 5)
    gateway = serve(through_any_llm(sky), KEYS)
    with pytest.raises(openai.RateLimitError):
        gateway.client().chat.completions.create(model="gpt", messages=HELLO)
