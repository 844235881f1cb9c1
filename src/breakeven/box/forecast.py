"""How long a call would take if it entered now: the queue ahead of it laid out over the slots at measured speeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from breakeven.box.pool_state import Call, PoolState, Slot, reuse
from breakeven.box.scheduler import Rules
from breakeven.units import Seconds


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds until a slot is free for a call, and then of prefill and decode."""

    wait: Seconds
    prefill: Seconds
    decode: Seconds

    @property
    def total(self) -> Seconds:
        """From now to the last token."""
        return self.wait + self.prefill + self.decode


def forecast(state: PoolState, call: Call, now: Seconds, rules: Rules) -> Forecast | None:
    """The prediction for a call that is not in the queue yet; ``None`` while no engine that may serve it is measured.

    Calls whose turn comes no later go first, each in the slot that has it done soonest. What arrives later and the
    steps that running chains have still to take are unknown and left out, so a busy pool answers later than forecast
    rather than earlier.
    """
    measured = {name: view for name, view in state.engines.items() if view.prefill and view.decode}
    slots = {
        slot.key: replace(slot, busy_until=max(now, slot.busy_until) if slot.call is not None else now)
        for slot in state.slots
        if slot.engine in measured
    }
    for slot in _left_empty(state, call, slots):
        del slots[slot.key]
    turn = (rules.turn(call), call.id)
    ahead = sorted((w for w in state.waiting if (rules.turn(w), w.id) < turn), key=lambda w: (rules.turn(w), w.id))
    found = None
    for one in (*ahead, call):
        options = [
            (slot.busy_until, reuse(one, slot, measured[slot.engine], state.copies).seconds, slot)
            for slot in slots.values()
            if state.may_serve(slot.engine, one)
        ]
        found = min(options, key=lambda option: (option[0] + option[1], option[2].key), default=None)
        if found is not None:
            free_at, prefill, slot = found
            decode = measured[slot.engine].decode_seconds(one.output_tokens)
            slots[slot.key] = _after(one, slot, free_at + prefill + decode)
    if found is None:
        return None
    free_at, prefill, slot = found
    return Forecast(free_at - now, prefill, measured[slot.engine].decode_seconds(call.output_tokens))


def _left_empty(state: PoolState, call: Call, slots: Mapping[tuple[str, int], Slot]) -> list[Slot]:
    """Slots beyond what each engine serves at once: those that do least for the call, or are free first and stay so."""
    if state.at_once is None:
        return []

    def use(slot: Slot) -> tuple[bool, float, int, int]:
        return slot.call is not None, slot.busy_until, call.prompt.shared_tokens(slot.holds), -slot.number

    empty = []
    for engine in state.engines:
        own = sorted((slot for slot in slots.values() if slot.engine == engine), key=use)
        empty += own[: max(0, len(own) - state.at_once)]
    return empty


def _after(call: Call, slot: Slot, until: Seconds) -> Slot:
    return replace(slot, holds=call.prompt.prefix, held_tokens=call.prompt.tokens, busy_until=until)
