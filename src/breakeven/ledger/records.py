"""What the ledger keeps: a ``Call`` as the client made it and the ``Attempt``s it took; a ``UsageBucket`` where only
sums are known.

Records carry facts and money already priced, so that a change of prices never changes the past. They hold no
prompt or answer text. Frozen and never part of a cycle, they are kept out of the garbage collector's rounds.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Literal

import msgspec

from breakeven.economics.rates import PriceRange
from breakeven.economics.tokens import TokenCounts

Outcome = Literal["completed", "client_left", "cut", "failed", "refused"]
"""completed: the whole answer was delivered. client_left: the caller closed the connection. cut: the upstream
broke off mid-answer. failed: the upstream gave an error or none answered. refused: the upstream turned the request
down (4xx)."""

CountedBy = Literal["engine", "provider", "estimate", "nobody"]
"""Who counted the tokens: the local engine, the provider, our own estimate for a cut stream, or nobody."""

Locality = Literal["local", "remote"]

IMPORTED = "import:"
"""How the origin of an imported record begins; the source follows."""


def microseconds(at: float) -> int:
    """A Unix time in seconds as the whole microseconds that databases keep."""
    return round(at * 1_000_000)


class Durations(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Seconds of each phase; ``None`` where nobody says, as in most imported logs.

    ``first_token`` runs from the arrival of the call to the first byte of generated text.
    """

    total: float | None = None
    queue: float | None = None
    load: float | None = None
    prefill: float | None = None
    decode: float | None = None
    first_token: float | None = None


class PriceProvenance(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Where a price came from.

    Attributes:
        source: name and version of the price book, or ``"configuration"``.
        effective: ISO date from which the row holds; ``None`` when the source does not date it.
        snapshot: short hash of the row as used, so that a later reader can tell whether it changed.
    """

    source: str
    effective: str | None
    snapshot: str


class Money(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """US dollars of one attempt by part, unrounded; ``None`` is unknown.

    Attributes:
        billed: what a provider will invoice; 0 for a local attempt.
        marginal_energy: electricity the attempt itself caused; ``None`` where the machine is unknown.
        idle_share: its share of the box's idle draw.
        amortisation_share: its share of the box's purchase (and care).
        counterfactual: what the reference cloud model would have charged for the same tokens.
        billed_range / counterfactual_range: between what the amount lies, where a source leaves it open; the amount
            itself is ``None`` then.
    """

    billed: Decimal | None = None
    marginal_energy: Decimal | None = None
    idle_share: Decimal | None = None
    amortisation_share: Decimal | None = None
    counterfactual: Decimal | None = None
    billed_range: PriceRange | None = None
    counterfactual_range: PriceRange | None = None


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One try at one provider.

    Attributes:
        number: 1 for the first attempt of the call.
        started_at: Unix time in seconds.
        model_asked / model_served: what we asked the provider for, and what it says it used.
        tokens: counts by class; ``None`` when nobody counted.
        box_seconds: share of the local box's wall time; ``None`` for a remote attempt.
        watt_hours / power_meter: marginal energy and the name of the meter (``modelled`` without one).
        price / reference_price: provenance of ``money.billed`` and of ``money.counterfactual``.
        reason: why routing chose this provider.
        error: code of the error that ended it, if one did.
        provider_key: which of the provider's keys it was asked with, by the place where the configuration keeps it
            (``env:NAME``), never its secret; ``None`` for a provider without keys, and in imported logs.
    """

    number: int
    provider: str
    locality: Locality
    model_asked: str
    started_at: float
    durations: Durations
    outcome: Outcome
    counted_by: CountedBy
    reason: str
    model_served: str | None = None
    tokens: TokenCounts | None = None
    box_seconds: float | None = None
    watt_hours: float | None = None
    power_meter: str | None = None
    money: Money = Money()
    price: PriceProvenance | None = None
    reference_model: str | None = None
    reference_price: PriceProvenance | None = None
    error: str | None = None
    provider_key: str | None = None

    @property
    def unserved(self) -> bool:
        """Whether it ended in an error before anything was used: a refusal, a rate limit, nobody there."""
        return self.tokens is None and self.outcome in ("failed", "refused")

    @property
    def cost(self) -> Decimal | None:
        """USD in all: the bill of a remote attempt, nothing if that was not served; energy and shares of the box of a
        local one; ``None`` if a part is unknown."""
        if self.locality == "remote":
            return Decimal(0) if self.unserved else self.money.billed
        energy, idle, share = self.money.marginal_energy, self.money.idle_share, self.money.amortisation_share
        return None if energy is None or idle is None or share is None else energy + idle + share


class Call(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One request of a client and all attempts at it.

    Attributes:
        id: unique; writing the same id twice keeps the first record.
        received_at: Unix time in seconds.
        endpoint: for instance ``/v1/chat/completions``.
        model: what the client asked for, before aliases.
        key / agent / task: labels; the key by its name, never its secret.
        origin: ``gateway`` for calls served here, ``import:`` and the source for imported ones.
        traceparent: W3C trace context that it came with; for its span, the books do not keep it.
    """

    id: str
    received_at: float
    endpoint: str
    model: str
    stream: bool
    outcome: Outcome
    attempts: tuple[Attempt, ...]
    key: str | None = None
    agent: str | None = None
    task: str | None = None
    origin: str = "gateway"
    traceparent: str | None = None

    @property
    def extent(self) -> tuple[int, int, int]:
        """Output, all tokens, and the earlier time first, to tell a later state of the same call by."""
        counted = [attempt.tokens for attempt in self.attempts if attempt.tokens is not None]
        output = sum(tokens.output for tokens in counted) if counted else -1
        return output, sum(tokens.total for tokens in counted), -microseconds(self.received_at)


class UsageBucket(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Usage that a source gives as a sum only: no single calls can be made of it, and no exact price where tiers go by
    the length of a prompt.

    Origin, provider, model, start, batch, account and variant tell buckets apart. Of two reports of the same bucket the
    later one holds more, since usage only grows; the earlier may end earlier, at the time of its making.

    Attributes:
        origin: ``import:`` and the source.
        provider / model: as the source names them; the model is empty where it does not.
        start / end: Unix seconds, the end excluded.
        tokens: their sum; ``None`` in a report of money alone.
        requests: how many calls; ``None`` when the source does not say.
        batch: whether the provider's batch tier served them; ``None`` when the source does not tell.
        account: project, workspace, key or user, by name or identifier, never a secret.
        variant: what else the source tells its rows apart by, for instance a service tier or a context window.
        money: ``billed`` and ``counterfactual`` or their ranges; the other parts stay ``None``.
        price / reference_price: provenance of ``money.billed`` and of ``money.counterfactual``.
    """

    origin: str
    provider: str
    model: str
    start: float
    end: float
    tokens: TokenCounts | None = None
    requests: int | None = None
    batch: bool | None = None
    account: str | None = None
    variant: str = ""
    money: Money = Money()
    price: PriceProvenance | None = None
    reference_model: str | None = None
    reference_price: PriceProvenance | None = None

    @property
    def id(self) -> str:
        """Hash of what tells it apart: the same bucket has the same id in every export."""
        key = (self.origin, self.provider, self.model, self.start, self.batch, self.account, self.variant)
        return hashlib.sha256(msgspec.json.encode(key)).hexdigest()

    @property
    def extent(self) -> tuple[int, int, Decimal]:
        """Tokens, requests, and dollars where there is nothing else, to tell a later report of the same bucket by."""
        requests = -1 if self.requests is None else self.requests
        if self.tokens is not None:
            return self.tokens.total, requests, Decimal(0)
        return -1, requests, Decimal(-1) if self.money.billed is None else self.money.billed
