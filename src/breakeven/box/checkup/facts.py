"""What the readers gather and the checks judge; ``None`` is unknown throughout."""

from __future__ import annotations

from dataclasses import dataclass, field

from breakeven.box.drift import Timing
from breakeven.box.heat import ThermalZone
from breakeven.units import Seconds, Tokens


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt that was sent to see how much of it the server reads.

    Attributes:
        sent_tokens: of the prompt, from what the server counted of a short one of the same words.
        read_tokens: as the server counted this one.
    """

    sent_tokens: Tokens
    read_tokens: Tokens


@dataclass(frozen=True, slots=True)
class BackendFacts:
    """A model server.

    Attributes:
        model: that would serve calls; ``None`` when it has none.
        loaded: whether that is in memory.
        context: tokens of context it is served with.
        keep_alive: seconds a model stays loaded after a call; ``inf`` for good.
        size_bytes / on_gpu_bytes: of the loaded model with its cache, and of that what lies on the GPU.
        probe / probe_error: what came of the probe.
    """

    kind: str
    address: str
    version: str | None = None
    model: str | None = None
    loaded: bool | None = None
    context: Tokens | None = None
    keep_alive: Seconds | None = None
    size_bytes: int | None = None
    on_gpu_bytes: int | None = None
    probe: Probe | None = None
    probe_error: str | None = None


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """The gateway at the configured address.

    Attributes:
        listening: whether anything answers there.
        ready: what ``/ready`` says; ``None`` when what answers is no gateway.
        checks: its parts, in words.
    """

    address: str
    listening: bool
    ready: bool | None = None
    checks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What the ledger knows of an agent.

    Attributes:
        period: seconds between its wake-ups; ``None`` when they follow no period.
        prompt_tokens / cached_tokens: of its local calls.
    """

    name: str
    calls: int
    period: Seconds | None
    prompt_tokens: Tokens
    cached_tokens: Tokens


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """The books.

    Attributes:
        exists: whether there are any yet.
        error: why they cannot be read.
        problems: what is wrong with them, a clause each.
        pending_bytes: in journals, not yet in the database.
        last_at: Unix time of the newest call.
        calls: of the last day, served locally.
        prompt_tokens / cached_tokens: of those; cached ``None`` where no server said.
        longest_prompt: of those, in tokens.
        timings: of those, oldest first.
    """

    exists: bool = True
    error: str | None = None
    problems: tuple[str, ...] = ()
    pending_bytes: int = 0
    last_at: float | None = None
    calls: int = 0
    prompt_tokens: Tokens = 0
    cached_tokens: Tokens | None = None
    longest_prompt: Tokens | None = None
    agents: tuple[AgentFacts, ...] = ()
    timings: tuple[Timing, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The machine.

    Attributes:
        throttled: why processor or cards run slower than they could, a clause each; ``None`` where nobody says.
        cpu_share / memory_share: of the last moments in which something waited.
        swap_bytes_per_second: moved in and out in the last moments.
        meter: the power meter in use; ``None`` for none, with the reason.
        draw_known: whether idle and load draw are.
        clock_synchronised: as the system says.
    """

    zones: tuple[ThermalZone, ...] = ()
    throttled: tuple[str, ...] | None = None
    cpu_share: float | None = None
    memory_share: float | None = None
    swap_bytes_per_second: float | None = None
    meter: str | None = None
    meter_reason: str = ""
    draw_known: bool = False
    disk_free_bytes: int | None = None
    home: str = ""
    clock_synchronised: bool | None = None
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class Listener:
    """A program of this machine that listens beyond it."""

    port: int
    address: str
    program: str


@dataclass(frozen=True, slots=True)
class SafetyFacts:
    """What lies open.

    Attributes:
        config_error: why the configuration cannot be used.
        config_file: that is read, with what looks like a secret in it (kinds, never values) and who may read it.
        open_listeners: model servers and gateways that other machines can reach; ``None`` when it cannot be told.
    """

    config_error: str | None = None
    config_remedy: str = ""
    config_file: str | None = None
    secrets_found: tuple[str, ...] = ()
    others_may_read: bool = False
    others_may_write: bool = False
    open_listeners: tuple[Listener, ...] | None = None


@dataclass(frozen=True, slots=True)
class FitFacts:
    """The engine's model against the memory; see `breakeven.box.fit`."""

    model: str
    fits: bool
    says: str
    remedy: str


@dataclass(frozen=True, slots=True)
class KnowledgeFacts:
    """How well figures are founded.

    Attributes:
        prices: source of the price data.
        prices_age_days: since they were fetched; ``None`` for those that came with the program.
        prices_problem: why a fetched update is not used.
        measured: source of the measurement of this box and model.
        measured_noisy: whether neighbours may have slowed it.
    """

    prices: str
    prices_age_days: int | None
    prices_problem: str | None = None
    measured: str | None = None
    measured_noisy: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything."""

    gateway: GatewayFacts
    backends: tuple[BackendFacts, ...]
    engine_wanted: bool
    ledger: LedgerFacts
    machine: MachineFacts
    safety: SafetyFacts
    knowledge: KnowledgeFacts
    fit: FitFacts | None = None
