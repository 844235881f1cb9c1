"""The work: three bulk tasks for each ticket, sent with the official OpenAI SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources

import msgspec
import openai

from breakeven.errors import BreakevenError, UpstreamError

MAX_OUTPUT_TOKENS = 60


class Ticket(msgspec.Struct, frozen=True):
    """A support ticket; invented, like everyone in it."""

    id: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Task:
    """A bulk task: its name in the ledger and its instruction."""

    name: str
    instruction: str


TASKS = (
    Task("tag", "Label the ticket with one word: billing, bug, access, question or praise. Answer with the word."),
    Task("extract", "List the product, numbers, dates and names that the ticket mentions, as JSON."),
    Task("summarise", "Summarise the ticket in one sentence."),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished call."""

    ticket: Ticket
    task: Task
    text: str
    call_id: str
    prompt_tokens: int
    completion_tokens: int


def load_tickets() -> list[Ticket]:
    """The twenty tickets that ship with the package."""
    text = resources.files("breakeven.demo").joinpath("tickets.json").read_bytes()
    return msgspec.json.decode(text, type=list[Ticket])


async def run(base_url: str, key: str, model: str, parallel: int) -> AsyncIterator[Answer]:
    """Send every task for every ticket; answers come as they finish.

    Raises:
        UpstreamError: when the gateway cannot be reached or refuses, with what to do.
    """
    limit = asyncio.Semaphore(parallel)

    async with openai.AsyncOpenAI(base_url=base_url, api_key=key) as client:

        async def one(ticket: Ticket, task: Task) -> Answer:
            async with limit:
                raw = await client.chat.completions.with_raw_response.create(
                    model=model,
                    messages=[
                        {"role": "system", "content": task.instruction},
                        {"role": "user", "content": f"{ticket.subject}\n\n{ticket.body}"},
                    ],
                    max_tokens=MAX_OUTPUT_TOKENS,
                    temperature=0,
                    extra_headers={"x-breakeven-task": task.name, "x-breakeven-agent": "demo"},
                )
            completion = raw.parse()
            usage = completion.usage
            if usage is None:
                raise BreakevenError("the gateway sent no usage")
            text = completion.choices[0].message.content or ""
            call_id = raw.headers["x-breakeven-call-id"]
            return Answer(ticket, task, text, call_id, usage.prompt_tokens, usage.completion_tokens)

        calls = [asyncio.ensure_future(one(ticket, task)) for ticket in load_tickets() for task in TASKS]
        try:
            for finished in asyncio.as_completed(calls):
                yield await finished
        except openai.APIConnectionError as error:
            raise UpstreamError(
                f"no gateway answers at {base_url}", remedy="Start one in another shell: breakeven serve"
            ) from error
        except openai.APIStatusError as error:
            raise UpstreamError(f"the gateway refused a call: {error.message}") from error
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)


def model_note(base_url: str, key: str, model: str) -> str | None:
    """What the gateway says a user must know of a model before trusting its answers."""
    with openai.OpenAI(base_url=base_url, api_key=key) as client:
        served = {entry.id: entry for entry in client.models.list()}
    note = getattr(served.get(model), "note", None)
    return note if isinstance(note, str) and note else None
