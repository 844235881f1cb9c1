"""The box's queue, slots and agents as plain data, for the admin page and whoever watches it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from breakeven.box.dispatcher import BoxSnapshot
from breakeven.box.drift_watch import DriftWatch
from breakeven.box.pool_state import PoolState, Slot
from breakeven.box.prefix_watch import AgentHealth
from breakeven.routing.forecast import Foreseeing
from breakeven.routing.table import RoutingTable


def box_view(snapshot: BoxSnapshot) -> dict[str, Any]:
    """Engines with their slots, who waits, and how well each agent's prompts are reused; nothing of a prompt's text."""
    state = snapshot.state
    return {
        "at": snapshot.at,
        "engines": [
            {
                "name": engine.name,
                "prefill_tokens_per_second": engine.prefill,
                "decode_tokens_per_second": engine.decode,
                "slots": [_slot(slot) for slot in state.slots if slot.engine == engine.name],
            }
            for engine in state.engines.values()
        ],
        "waiting": _waiting(state),
        "queue_seconds": list(snapshot.queue_seconds),
        "kv_files": sum(copy.file is not None for copy in state.copies),
        "kv_file_bytes": sum(copy.size for copy in state.copies if copy.file is not None),
        "agents": {name: _agent(health) for name, health in sorted(snapshot.agents.items())},
    }


def broken_prefixes(table: RoutingTable) -> list[tuple[str, str]]:
    """Queue and agent of each whose prompt changes early on from run to run, so that little of it is reused."""
    queues = {route.provider.name: route.provider for route in table if isinstance(route.provider, Foreseeing)}
    return [
        (name, agent)
        for name, queue in sorted(queues.items())
        for agent, health in sorted(queue.dispatcher.watch.agents.items())
        if health.broken
    ]


def drift_view(watch: DriftWatch) -> list[dict[str, Any]]:
    """Servers of one's own that are slower than usual, why, and what is done about it."""
    return [
        {
            "provider": provider,
            "model": model,
            "cause": drift.cause.value,
            "times": drift.times,
            "says": drift.says,
            "action": drift.action,
            "at_once": watch.limits.get(provider),
        }
        for (provider, model), drift in watch.drifts.items()
    ]


def _agent(health: AgentHealth) -> dict[str, Any]:
    last = health.last_break
    place = None if last is None else {"at_character": last.at_character, "at_token": last.at_token}
    return {**asdict(health), "last_break": place, "broken": health.broken}


def _slot(slot: Slot) -> dict[str, Any]:
    return {
        "number": slot.number,
        "busy": slot.call is not None,
        "agent": slot.agent,
        "held_tokens": slot.held_tokens,
        "kept_for_chain": slot.lease.chain if slot.lease is not None else None,
    }


def _waiting(state: PoolState) -> list[dict[str, Any]]:
    return [
        {
            "agent": call.agent,
            "chain": call.chain,
            "priority": call.priority.name.lower(),
            "prompt_tokens": call.prompt.tokens,
            "output_tokens": call.output_tokens,
        }
        for call in state.waiting
    ]
