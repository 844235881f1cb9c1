"""Sentences made of a plan's figures."""

from __future__ import annotations

from breakeven.planning.plan import Plan
from breakeven.planning.serving import SECONDS_PER_DAY, requests_per_second
from breakeven.units import tokens


def the_load(plan: Plan) -> str | None:
    """How many calls, how often, of how many tokens; ``None`` when the scenario does not say how much there is."""
    work = plan.scenario.workload
    rate = requests_per_second(work)
    if rate is None or plan.tokens_monthly is None:
        return None
    a_day = rate * SECONDS_PER_DAY
    counted = f"{a_day:,.0f} calls a day, one every {duration(1 / rate)}"
    if work.agents is not None:
        agents = f"{work.agents} agents × {work.wakes_per_hour:g} wakes an hour × {work.calls_per_wake} calls"
        counted = f"{agents} = {counted}"
    size = f"{work.input_tokens:,} tokens in, {work.output_tokens:,} out"
    return f"{counted}; {size}: {tokens(plan.tokens_monthly)} tokens a month."


def why_reuse(plan: Plan) -> str | None:
    """What finding the prompt in the KV cache is worth, in boxes; ``None`` when the box's speed is unknown."""
    if not plan.serving.reuse or plan.serving.speed is None or plan.serving.needed is None:
        return None
    without, resident, _ = plan.serving.reuse
    speed, work = plan.serving.speed, plan.scenario.workload
    percent = f"{plan.scenario.serving.utilisation:.0%}"
    prefill, decode = speed.prefill.tokens_per_second, speed.decode.tokens_per_second
    call = f"a call of {work.input_tokens:,} + {work.output_tokens:,} tokens"
    return (
        f"At {prefill:.4g} tok/s prefill and {decode:.4g} tok/s decode {call} takes"
        f" {duration(without.seconds_per_request)}: {without.busy_boxes:.1f} boxes at 100%,"
        f" {without.boxes} at {percent}. With 90% of the prompt resident in the KV cache it takes"
        f" {duration(resident.seconds_per_request)}: {resident.busy_boxes:.1f} boxes at 100%, {resident.boxes} at"
        f" {percent}."
    )


def boxes_line(plan: Plan) -> str | None:
    """Which demand sets the number of boxes."""
    needed = plan.serving.needed
    if needed is None:
        return None
    limit = plan.scenario.serving.max_wait_seconds
    if not plan.serving.waits_known:
        wait = "waits unknown for want of single arrivals"
    elif needed.by_wait is None:
        wait = f"no number keeps the wait under {duration(limit)}"
    else:
        wait = f"{needed.by_wait} so that 95% wait at most {duration(limit)}"
    memory = "the model does not fit" if needed.by_memory is None else f"{needed.by_memory} for memory"
    return (
        f"{needed.by_utilisation} at {plan.scenario.serving.utilisation:.0%} utilisation"
        f" ({needed.busy_boxes:.1f} at 100%), {wait}, {memory}."
    )


def duration(value: float) -> str:
    """Seconds, minutes or hours for reading.

    >>> duration(2.419), duration(40.0), duration(2800.5), duration(28_800)
    ('2.42 s', '40.0 s', '46.7 min', '8.0 h')
    """
    if value < 10:
        return f"{value:.2f} s"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def value_range(low: float, high: float, unit: str) -> str:
    """Two values of a quantity in the form people read.

    >>> value_range(0.134, 0.466, "share/year"), value_range(77, 1031, "$"), value_range(7.44, 12.6, "tok/s")
    ('13% to 47% a year', '$77 to $1,031', '7.44 to 12.6 tok/s')
    """
    if unit.startswith("share"):
        return f"{low:.0%} to {high:.0%}{' a year' if unit == 'share/year' else ''}"
    if unit == "$":
        return f"${low:,.0f} to ${high:,.0f}"
    if unit == "tokens/month":
        return f"{tokens(round(low))} to {tokens(round(high))}"
    return f"{low:.3g} to {high:.3g} {unit}"
