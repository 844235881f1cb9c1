"""The settings and what they mean. The docstring under each field is its entry in the configuration reference."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from breakeven.config.accounts import BudgetSettings, IdempotencySettings, KeySettings
from breakeven.config.agents import AgentsSettings
from breakeven.config.providers import ModelSettings, PoolSettings, ProviderSettings
from breakeven.config.routing import BULK_TASKS, PolicySettings, TaskSettings
from breakeven.config.section import Section

_BULK_TASKS = dict.fromkeys(BULK_TASKS, TaskSettings())


class GatewaySettings(Section):
    """Where the gateway listens and what it accepts."""

    host: str = "127.0.0.1"
    """Address to bind. Anything but loopback demands at least one key."""
    port: int = Field(default=4141, ge=0, le=65535)
    """TCP port; 0 lets the system choose one."""
    allowed_origins: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://[^/\s]+$")], ...] = ()
    """Web pages that may call and read the answers, as `https://app.example`. Without keys other pages are refused."""
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Longest request body in bytes; longer ones get 413."""
    shutdown_seconds: float = Field(default=10.0, ge=0)
    """How long calls in flight may go on after SIGTERM."""
    heartbeat_seconds: float = Field(default=10.0, gt=0)
    """Pause between heartbeats in a stream that has no words yet, so that no client gives up on a loading model."""
    log_format: Literal["text", "json"] = "text"
    """How the log on standard error is written: for people, or as one JSON object a line."""
    log_calls: bool = False
    """Log a line for each call: outcome, provider, seconds, cost; never prompts, answers or secrets."""
    traces: bool = False
    """Send OpenTelemetry spans, without prompts or answers, where the standard `OTEL_EXPORTER_OTLP_…` variables say."""


class EngineSettings(Section):
    """The embedded llama.cpp engine, run as a supervised child process."""

    model: str = "demo"
    """A GGUF: the name of a pulled model, a path, or `demo` (SmolLM2-135M: plumbing, not quality)."""
    context: int = Field(default=8192, ge=256)
    """Tokens of context of each slot, prompt and output together."""
    slots: int = Field(default=2, ge=1, le=64)
    """Calls served at once."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; by default one fewer than the machine has cores."""
    gpu_layers: int = Field(default=-1, ge=-1)
    """Layers put on the GPU; -1 for all that fit."""
    kv_quantisation: Literal["f16", "q8_0"] = "f16"
    """How keys and values are kept. `q8_0` takes 53 % of the memory of `f16`, so nearly twice the context or the agents
    find room; it needs flash attention and changes answers a little."""
    cache_ram_mib: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Host memory for prompts evicted from slots, in MiB; 0 switches the cache off. `auto`: what the prompts of the
    last day's agents need, at least 8192, never more than is free beside the model; chosen when the engine loads."""
    kv_files_mib: int = Field(default=16384, ge=0)
    """Disk for computed prompts that memory cannot keep, in MiB; 0 writes none. The files hold what the prompts said:
    their folder, `kv` in the home folder, is closed to other users and emptied at each start and stop."""
    batch_tokens: int | None = Field(default=None, ge=32, le=4096)
    """Prompt tokens computed at once; by default 512 on a GPU and 128 on a CPU. An abandoned prefill ends after one or
    two of these."""
    embeddings: bool = False
    """Run as an embedding model: serves `/v1/embeddings` instead of chat."""
    canary_seconds: float | None = Field(default=None, ge=1)
    """How often an idle engine is asked a short prompt whose answer is known, after each load too, and loaded anew when
    it answers otherwise. Unset: never. These few tokens are in no call of the ledger."""
    start_seconds: float = Field(default=120.0, gt=0)
    """How long the model may take to load before the start counts as failed."""


class LedgerSettings(Section):
    """Where the books are kept and what happens when they cannot be."""

    url: str | None = None
    """SQLAlchemy URL (`sqlite:///…` or `postgresql+psycopg://…`); by default SQLite in the home folder."""
    durability: Literal["before_last_byte", "batched"] = "before_last_byte"
    """`before_last_byte`: a call is journaled before its last byte leaves, so it survives a kill of the process.
    `batched`: it is journaled a moment later; a kill may lose the newest calls."""
    sync: bool = False
    """Also wait for the disk (fsync) at each record, so that a call survives a power cut; costs milliseconds."""
    on_journal_failure: Literal["refuse", "spool"] = "refuse"
    """When the journal cannot be written (disk full): `refuse` calls with 503, or `spool` records in memory up to
    `spool_max_records` and refuse after that."""
    spool_max_records: int = Field(default=10_000, ge=1)
    """Most records held in memory while the journal cannot be written."""
    journal_max_bytes: int = Field(default=1024**3, ge=1024**2)
    """Most bytes of journal kept while the database cannot be written; beyond that calls are refused."""


class BoxSettings(Section):
    """The machine that serves local calls: what it cost and what it draws. Unset values come from the catalogue."""

    machine: str | None = None
    """A machine of the catalogue (`breakeven machines`); unset: what is not given below is unknown."""
    purchase_usd: Decimal | None = Field(default=None, ge=0)
    """Price paid; 0 when it is owned anyway and only marginal cost counts."""
    resale_usd: Decimal = Field(default=Decimal(0), ge=0)
    """Value at the end of the term."""
    term_months: int = Field(default=36, ge=1, le=240)
    """Months over which it is written off."""
    capital_rate_yearly: Decimal = Field(default=Decimal(0), ge=0, le=1)
    """Cost of capital a year, 0.05 for 5 %."""
    idle_watts: Decimal | None = Field(default=None, ge=0)
    """Draw when idle."""
    load_watts: Decimal | None = Field(default=None, ge=0)
    """Draw while serving."""
    usd_per_kwh: Decimal | None = Field(default=None, ge=0)
    """Electricity tariff."""
    pue: Decimal = Field(default=Decimal(1), ge=1, le=3)
    """Power usage effectiveness."""
    care_hours_monthly: Decimal = Field(default=Decimal(0), ge=0)
    """Hours a month spent on updates, restarts, heat."""
    wage_usd_hourly: Decimal = Field(default=Decimal(0), ge=0)
    """What such an hour costs."""
    upkeep_usd_monthly: Decimal = Field(default=Decimal(0), ge=0)
    """Whatever else it costs a month: a rack, insurance, repairs."""
    power_meter: Literal["auto", "modelled", "rapl", "nvml", "apple"] = "auto"
    """How watt-hours are found: a meter of the machine where there is one, else idle + (load − idle) × busy time."""
    keep_alive_hours: Annotated[float, Field(ge=0)] | Literal["forever"] = 24.0
    """How long an Ollama keeps its configured models after their last call, or `forever`; 0 leaves it to that."""


class ReferenceSettings(Section):
    """The cloud model that a local call is compared with."""

    provider: str = "anthropic"
    """Its provider in the price book."""
    model: str = "claude-sonnet-5-5"
    """Its name in the price book."""


class PriceOverride(Section):
    """Rates that replace the price book's, in USD per million tokens; the table's name is `provider/model`."""

    input: Decimal = Field(ge=0)
    """Uncached input."""
    output: Decimal = Field(ge=0)
    """Output, reasoning included."""
    cache_read: Decimal | None = Field(default=None, ge=0)
    """Input read from a cache; unset: billed as input."""
    cache_write_5m: Decimal | None = Field(default=None, ge=0)
    """Input written to a five-minute cache; unset: billed as input."""
    cache_write_1h: Decimal | None = Field(default=None, ge=0)
    """Input written to a one-hour cache; unset: as for five minutes."""
    source: str = Field(min_length=1)
    """Where these figures come from: a contract, an invoice, a page."""
    effective: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    """Date from which they hold, YYYY-MM-DD."""


class Settings(Section):
    """The whole file."""

    home: Path | None = None
    """Folder for the ledger, the journal and models; by default the platform's data folder, or `BREAKEVEN_HOME`."""
    gateway: GatewaySettings = GatewaySettings()
    keys: dict[str, KeySettings] = {}
    budgets: dict[str, BudgetSettings] = {}
    idempotency: IdempotencySettings = IdempotencySettings()
    engine: EngineSettings = EngineSettings()
    providers: dict[str, ProviderSettings] = {}
    pools: dict[str, PoolSettings] = {}
    models: dict[str, ModelSettings] = {}
    policy: PolicySettings = PolicySettings()
    tasks: dict[str, TaskSettings] = {}
    ledger: LedgerSettings = LedgerSettings()
    box: BoxSettings = BoxSettings()
    reference: ReferenceSettings = ReferenceSettings()
    prices: dict[str, PriceOverride] = {}
    agents: AgentsSettings = AgentsSettings()

    @property
    def all_tasks(self) -> dict[str, TaskSettings]:
        """The tasks of the file and those that exist without being configured."""
        return {**_BULK_TASKS, **self.tasks}
