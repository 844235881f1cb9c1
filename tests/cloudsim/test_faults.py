"""Each fault does what it says, in both dialects, and is ordered in every way there is."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from tests.fakes import traffic
from tests.fakes.cloud import CLAUDE, EMBEDDER, GPT, SimulatedCloud

from breakeven.cloudsim.faults import KINDS, Fault, FaultPlan
from breakeven.errors import InputError

BROKEN = (openai.APIError, anthropic.APIError, httpx2.HTTPError, ValueError)
HELLO: Any = [{"role": "user", "content": "[sim:tokens=40]"}]


def chat(client: openai.OpenAI, fault: str) -> list[Any]:
    return list(client.chat.completions.create(model=f"{GPT}+{fault}", messages=HELLO, stream=True))


def messages(client: anthropic.Anthropic, fault: str) -> list[Any]:
    asked = {"model": f"{CLAUDE}+{fault}", "messages": HELLO, "max_tokens": 100, "stream": True}
    return list(client.messages.create(**asked))


@pytest.mark.parametrize("fault", ["cut", "truncated", "malformed", "error-event:2", "cut:0", "refuse:0"])
def test_a_broken_stream_is_an_error_to_the_sdks(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, fault: str
) -> None:
    with pytest.raises(BROKEN):
        chat(openai_client, fault)
    with pytest.raises(BROKEN, match="Overloaded" if "error-event" in fault else None):
        messages(anthropic_client, fault)


def test_a_plain_answer_can_break_off_in_its_json(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, sim: SimulatedCloud
) -> None:
    with pytest.raises(openai.APIConnectionError):
        openai_client.chat.completions.create(model=f"{GPT}+truncated", messages=HELLO)
    with pytest.raises(anthropic.APIConnectionError):
        anthropic_client.messages.create(model=f"{CLAUDE}+truncated", messages=HELLO, max_tokens=9)
    with pytest.raises(openai.APIConnectionError):
        openai_client.embeddings.create(model=f"{EMBEDDER}+truncated", input="red stone")
    assert [line["complete"] for line in sim.invoice()["lines"]] == [False] * 3


def test_usage_can_be_missing(openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    whole = openai_client.chat.completions.create(model=f"{GPT}+no-usage", messages=HELLO)
    start = messages(anthropic_client, "no-usage")[0]
    assert whole.usage is None
    assert start.message.usage is None


def test_a_stall_lasts_until_the_caller_leaves_and_is_billed(sim: SimulatedCloud, openai_client: openai.OpenAI) -> None:
    stream = openai_client.chat.completions.create(model=f"{GPT}+stall:3", messages=HELLO, stream=True)
    for _ in range(3):
        next(stream)
    assert sim.seen()["in_flight"] == 1
    stream.close()
    openai_client.close()
    (line,) = sim.invoice()["lines"]
    assert not line["complete"]


def test_the_content_type_can_be_wrong(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.with_raw_response.create(model=f"{GPT}+content-type", messages=HELLO)
    assert answer.headers["content-type"] == "text/html"


def test_a_closed_listener_refuses_until_it_opens_again(sim: SimulatedCloud, openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        chat(openai_client, "refuse:0.2")
    with pytest.raises(openai.APIConnectionError):
        chat(openai_client, "no-usage")
    patient = openai_client.with_options(max_retries=20)
    assert patient.chat.completions.create(model=GPT, messages=HELLO).choices


def test_a_fault_is_ordered_by_header_marker_queue_and_plan(sim: SimulatedCloud, openai_client: openai.OpenAI) -> None:
    def status(content: str = "x", **more: Any) -> int:
        try:
            openai_client.chat.completions.create(model=GPT, messages=[{"role": "user", "content": content}], **more)
        except openai.APIStatusError as error:
            return error.status_code
        return 200

    assert status(extra_headers={"x-sim-fault": "500"}) == 500
    assert status("[sim:fault=529]") == 529
    sim.order("503", None, "429")
    assert [status() for _ in range(4)] == [503, 200, 429, 200]
    sim.post("/_sim/faults", {"probabilities": {"500": 1.0}, "seed": 3})
    assert status() == 500
    sim.post("/_sim/faults", method="DELETE")
    assert status() == 200
    assert sim.seen()["by_fault"] == {"429": 1, "500": 2, "503": 1, "529": 1}


def test_a_connection_is_kept_or_closed_as_the_caller_wishes(sim: SimulatedCloud) -> None:
    document = {"model": GPT, "messages": HELLO, "stream": True}
    headers = {"authorization": "Bearer sk-a"}
    got = asyncio.run(traffic.call(sim.url, traffic.Wish("/v1/chat/completions", document, headers)))
    assert got.body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), "it would not have come to an end"


def test_a_plan_with_a_seed_repeats_itself() -> None:
    def drawn() -> list[Fault | None]:
        plan = FaultPlan()
        plan.order(probabilities={"429:1": 0.2, "cut:2": 0.2}, seed=11)
        return [plan.next() for _ in range(200)]

    faults = drawn()
    assert faults == drawn()
    assert {None, Fault("429", 1), Fault("cut", 2)} == set(faults)


@pytest.mark.parametrize("text", ["fire", "cut:soon", "cut:-1", ""])
def test_an_unknown_fault_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Fault.parse(text)


def test_every_fault_says_what_it_does() -> None:
    assert all(Fault.parse(kind).kind == kind and meaning for kind, meaning in KINDS.items())
