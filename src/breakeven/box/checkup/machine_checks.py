"""Checks of the machine: strain, heat, power, disk, clock."""

from __future__ import annotations

from breakeven.box.checkup.facts import Facts
from breakeven.box.checkup.finding import Finding, amber, green, red, unknown
from breakeven.box.drift import Baseline, Strain, find_drift
from breakeven.units import GB

RECENT_SECONDS = 3600
HOT_MARGIN_CELSIUS = 3
LEAST_DISK = 1 * GB
LITTLE_DISK = 10 * GB
AHEAD_SECONDS = 60


def speed(facts: Facts) -> Finding:
    """The last hour's calls against those of the day before it."""
    machine, timings = facts.machine, facts.ledger.timings
    since = machine.now - RECENT_SECONDS
    usual = Baseline.of(timing for timing in timings if timing.at < since)
    recent = [timing for timing in timings if timing.at >= since]
    strain = Strain(machine.cpu_share, machine.memory_share, machine.swap_bytes_per_second, machine.throttled or ())
    drift = find_drift(recent, usual, strain)
    if drift is not None:
        return amber("speed", f"{drift.cause}: {drift.says}", drift.action)
    if usual.slowdown(recent) is None:
        return unknown("speed", "too few local calls of this hour and before to compare")
    return green("speed", "local calls take as long as usual")


def memory(facts: Facts) -> Finding:
    """Whether memory is short now."""
    machine = facts.machine
    if (machine.memory_share or 0) > 0.05 or (machine.swap_bytes_per_second or 0) > 1_000_000:
        swap = machine.swap_bytes_per_second or 0
        return amber(
            "memory",
            f"memory is short: {swap / 1e6:.0f} MB/s are swapped, and {machine.memory_share or 0:.0%} of the time"
            " something waits for memory",
            "Close what else uses memory, or lower engine.context or engine.slots.",
        )
    if machine.memory_share is None and machine.swap_bytes_per_second is None:
        return unknown("memory", "the system does not say how short memory is")
    return green("memory", "nothing waits for memory")


def heat(facts: Facts) -> Finding:
    """Whether anything is throttled, or about to be."""
    machine = facts.machine
    if machine.throttled:
        return amber(
            "heat",
            f"running slower than it could: {'; '.join(machine.throttled)}",
            "Give it air, clean the fans, or allow the card more power.",
        )
    hot = [
        zone
        for zone in machine.zones
        if zone.limit_celsius is not None and zone.celsius >= zone.limit_celsius - HOT_MARGIN_CELSIUS
    ]
    if hot:
        worst = max(hot, key=lambda zone: zone.celsius)
        return amber(
            "heat",
            f"{worst.name} has {worst.celsius:.0f} °C and slows down at {worst.limit_celsius:.0f} °C",
            "Give it air.",
        )
    if machine.zones:
        return green("heat", f"{max(zone.celsius for zone in machine.zones):.0f} °C at most, nothing is throttled")
    if machine.throttled is None:
        return unknown("heat", "no sensor can be read here")
    return green("heat", "nothing is throttled")


def power(facts: Facts) -> Finding:
    """Where watt-hours come from."""
    machine = facts.machine
    reason = machine.meter_reason.partition(" (")[0]
    if machine.meter is not None:
        return green("power meter", f"energy is measured by {machine.meter}")
    if machine.draw_known:
        return green("power meter", f"{reason}; the machine's draw is known")
    return amber(
        "power meter",
        f"{reason}, and the machine's draw is not known: the energy of local calls is unknown",
        "Name the machine (box.machine) or give box.idle_watts and box.load_watts.",
    )


def disk(facts: Facts) -> Finding:
    """Room for the books: without it calls are refused."""
    free, home = facts.machine.disk_free_bytes, facts.machine.home
    if free is None:
        return unknown("disk", f"{home} cannot be looked at")
    says = f"{free / GB:.1f} GB free in {home}"
    if free < LEAST_DISK:
        return red("disk", f"{says}: a full disk stops the books, and with them all calls", "Free some space there.")
    if free < LITTLE_DISK:
        return amber("disk", says, "Free some space there, or move home to a larger disk.")
    return green("disk", says)


def clock(facts: Facts) -> Finding:
    """Calls are priced and counted by their time."""
    last, now = facts.ledger.last_at, facts.machine.now
    if last is not None and last > now + AHEAD_SECONDS:
        return red(
            "clock",
            f"the newest call in the books lies {(last - now) / 60:.0f} min in the future: the clock was set back",
            "Set the clock, and let the system keep it (NTP).",
        )
    if facts.machine.clock_synchronised is False:
        return amber("clock", "the system does not keep its clock by a time server", "Switch NTP on.")
    if facts.machine.clock_synchronised is None:
        return unknown("clock", "the system does not say whether its clock is kept")
    return green("clock", "kept by a time server")
