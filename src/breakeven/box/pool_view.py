"""The box as others see it: slots, queue, who holds which prefix, speeds, broken prefixes; without any text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from breakeven.box.dispatcher import BoxSnapshot, Dispatcher
from breakeven.box.prefix_watch import AgentHealth
from breakeven.providers.base import Provider

Json = dict[str, Any]


def pools_of(providers: Iterable[Provider]) -> list[Json]:
    """A view of each queue that providers of this house stand behind."""
    found = {provider.name: provider for provider in providers}
    queues = {name: getattr(provider, "dispatcher", None) for name, provider in found.items()}
    return [pool_view(name, queue.snapshot()) for name, queue in queues.items() if isinstance(queue, Dispatcher)]


def pool_view(name: str, seen: BoxSnapshot) -> Json:
    """One queue and its engines. Speeds are tokens a second, times are seconds; ``None`` is unknown."""
    state = seen.state
    return {
        "name": name,
        "engines": [
            {"name": engine.name, "prefill_per_second": engine.prefill, "decode_per_second": engine.decode}
            for engine in state.engines.values()
        ],
        "slots": [
            {
                "engine": slot.engine,
                "number": slot.number,
                "busy": slot.call is not None,
                "agent": slot.agent,
                "tokens": slot.held_tokens,
                "leased": slot.lease is not None,
            }
            for slot in state.slots
        ],
        "queue": {"waiting": len(state.waiting), "longest_wait": max(seen.queue_seconds, default=0.0)},
        "kept": [
            {"engine": copy.engine, "agent": copy.agent, "bytes": copy.size, "on_disk": copy.file is not None}
            for copy in state.copies
        ],
        "agents": {agent: _health(health) for agent, health in seen.agents.items()},
    }


def _health(health: AgentHealth) -> Json:
    return {
        "calls": health.calls,
        "prompt_tokens": health.prompt_tokens,
        "cached_tokens": health.cached_tokens,
        "expected_cached_tokens": health.expected_cached_tokens,
        "broken": health.broken,
        "differs_at_character": None if health.last_break is None else health.last_break.at_character,
        "differs_at_token": None if health.last_break is None else health.last_break.at_token,
    }
