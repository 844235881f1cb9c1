"""Whether agents' prompts still begin as they did: where they differ, and how much of them the engine did not reuse."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from breakeven.box.prefix import BLOCK_CHARACTERS, Prefix, common_blocks
from breakeven.units import Tokens

PROMPT_PREFIXES = "prompt prefixes"
"""How ``/ready`` and ``doctor`` call what is watched here."""
REMEMBERED_AGENTS = 256
REMEMBERED_CHARACTERS = 64 * 1024
"""Of each agent's latest prompt, kept in memory only, to find the character at which the next one differs."""
BROKEN_BELOW = 0.5
"""A prompt that keeps less than this share of its head has a broken prefix."""
EXCERPT = 24
WARNS_AFTER = 2
"""Breaks in a row: one is an agent that was edited, two are a prompt that changes each time."""


@dataclass(frozen=True, slots=True)
class Break:
    """Where a prompt stopped being like the one before.

    Attributes:
        at_character: position in the prompt, counted from 0: tools first, then system and other messages.
        at_token: about which token that is.
        before / now: the text around that place, then and now.
    """

    at_character: int
    at_token: Tokens
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class AgentHealth:
    """An agent's prompts so far.

    Attributes:
        calls: completed with counts by the engine.
        prompt_tokens / cached_tokens: as the engine counted them.
        expected_cached_tokens: as the scheduler had placed them.
        breaks: runs in a row that began unlike the run before.
        last_break: the latest of them.
    """

    calls: int = 0
    prompt_tokens: Tokens = 0
    cached_tokens: Tokens = 0
    expected_cached_tokens: Tokens = 0
    breaks: int = 0
    last_break: Break | None = None

    @property
    def broken(self) -> bool:
        """Whether the prefix changes from run to run, so that nothing can be reused."""
        return self.breaks >= WARNS_AFTER


class PrefixWatch:
    """Watches the prompts of all agents; texts stay in memory and leave it only as a break's excerpt."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, tuple[Prefix, str]] = OrderedDict()
        self._health: dict[str, AgentHealth] = {}

    @property
    def agents(self) -> dict[str, AgentHealth]:
        """Health by agent."""
        return dict(self._health)

    def run_begins(self, agent: str, prefix: Prefix, head_blocks: int, text: str, tokens: Tokens) -> AgentHealth:
        """An agent's new run has sent its first prompt; returns its health with that."""
        before = self._latest.get(agent)
        self._latest[agent] = prefix, text[:REMEMBERED_CHARACTERS]
        self._latest.move_to_end(agent)
        health = self._health.get(agent, AgentHealth())
        if before is not None:
            expected = min(head_blocks or len(prefix), len(before[0]))
            if expected and common_blocks(before[0], prefix) < BROKEN_BELOW * expected:
                found = _find_break(before[1], text, tokens / max(1, len(text)))
                health = replace(health, breaks=health.breaks + 1, last_break=found)
            else:
                health = replace(health, breaks=0)
        self._health[agent] = health
        if len(self._latest) > REMEMBERED_AGENTS:
            forgotten, _ = self._latest.popitem(last=False)
            self._health.pop(forgotten, None)
        return health

    def call_ended(self, agent: str, *, prompt: Tokens, cached: Tokens, expected: Tokens) -> None:
        """The engine has counted a call."""
        if (health := self._health.get(agent)) is not None:
            self._health[agent] = replace(
                health,
                calls=health.calls + 1,
                prompt_tokens=health.prompt_tokens + prompt,
                cached_tokens=health.cached_tokens + cached,
                expected_cached_tokens=health.expected_cached_tokens + min(expected, prompt),
            )


def _find_break(before: str, now: str, tokens_per_character: float) -> Break:
    shorter = min(len(before), len(now))
    at = next((i for i in range(0, shorter, BLOCK_CHARACTERS) if before[i : i + 256] != now[i : i + 256]), shorter)
    while at < shorter and before[at] == now[at]:
        at += 1
    around = slice(max(0, at - EXCERPT), at + EXCERPT)
    return Break(at, round(at * tokens_per_character), before[around], now[around])
