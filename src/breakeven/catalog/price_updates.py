"""Newer price data: fetched, held against what is in use, and kept only when it is sound as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from pyreqwest.client import SyncClientBuilder
from pyreqwest.exceptions import BuilderError, RequestError

from breakeven.catalog.price_data import PriceData, Snapshot, UpdateRecord, keep, parse, standing
from breakeven.catalog.prices import PriceBook, PriceRow
from breakeven.economics.rates import Rates
from breakeven.errors import InputError, PriceDataError

CLASSES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
JUMP = 100
"""A price that rises or falls by more than this factor is taken for an error."""
MOST_USD_PER_MILLION = Decimal(10_000)
"""The dearest model ever listed cost $600; beyond this it is an error of units."""
LEAST_SHARE_OF_MODELS = Decimal("0.75")
"""An update with fewer of the models known now is taken for a part of one."""
MOST_BYTES = 64 * 1024**2
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Change:
    """One rate that differs between two states of the data, in USD per million tokens; ``None`` is no such rate."""

    provider: str
    model: str
    token_class: str
    before: Decimal | None
    after: Decimal | None

    @property
    def name(self) -> str:
        """``provider/model``."""
        return f"{self.provider}/{self.model}"

    @property
    def factor(self) -> Decimal | None:
        """How many times dearer or cheaper; ``None`` where a rate is missing or was free."""
        if self.before is None or self.after is None or not self.before:
            return None
        if not self.after:
            return Decimal("Infinity")
        return max(self.before / self.after, self.after / self.before)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One state of the data against another.

    Attributes:
        added / removed: models by ``provider/model``.
        changed: rates that differ, the largest factor first.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """An update that was put in place.

    Attributes:
        is_new: whether it differs from what was in use.
        models / providers: how many it has.
        comparison: against what was in use before.
    """

    record: UpdateRecord
    path: Path
    is_new: bool
    models: int
    providers: int
    comparison: Comparison


def source_url() -> str:
    """Where ``genai-prices`` itself fetches its updates."""
    from genai_prices.update_prices import DEFAULT_UPDATE_URL  # noqa: PLC0415 - see price_data.bundled

    return str(DEFAULT_UPDATE_URL)


def update(home: Path, where: str | Path, at: datetime, *, accepted: Collection[str] = ()) -> Update:
    """Read newer data, check it and keep it for all commands.

    Args:
        home: where it is kept.
        where: a URL, or the path of a file.
        at: now (UTC).
        accepted: models as ``provider/model`` whose price may jump.

    Raises:
        InputError: the file cannot be read, or the URL is none that can be trusted.
        PriceDataError: it cannot be fetched or is not sound; what was in use stays.
    """
    raw = _read(where) if isinstance(where, Path) else fetch(where)
    url = where.absolute().as_uri() if isinstance(where, Path) else where
    record = UpdateRecord(url, at.replace(microsecond=0), hashlib.sha256(raw).hexdigest())
    current = standing(home)
    try:
        newer = PriceData(parse(raw), record.source, record)
        comparison = compare(current, newer, at)
        _check(newer, current, comparison, at, accepted)
    except PriceDataError as error:
        raise PriceDataError(
            f"the update from {url} is refused: {error.message}",
            remedy=f"{error.remedy} {current.source} stays in use.".strip(),
        ) from error
    path = keep(home, raw, record)
    return Update(
        record=record,
        path=path,
        is_new=current.update is None or current.update.sha256 != record.sha256,
        models=_models(newer),
        providers=len(newer.providers),
        comparison=comparison,
    )


def fetch(url: str) -> bytes:
    """The body at a URL.

    Raises:
        InputError: it is neither https nor on this machine.
        PriceDataError: it cannot be reached, breaks off or does not answer 200.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise InputError(f"--url {url!r}: expected https, or http on this machine")
    try:
        builder = SyncClientBuilder().connect_timeout(timedelta(seconds=10)).timeout(timedelta(seconds=60))
        with builder.build() as client, client.get(url).build_streamed() as response:
            if response.status != HTTPStatus.OK:
                raise PriceDataError(f"{url} answered {response.status}", remedy="The prices in use stay.")
            body = bytearray()
            while (chunk := response.body_reader.read_chunk()) is not None:
                body += bytes(chunk)
                if len(body) > MOST_BYTES:
                    raise PriceDataError(f"{url} sends more than {MOST_BYTES:,} bytes: no price data")
    except (RequestError, BuilderError) as error:
        raise PriceDataError(
            f"{url} cannot be fetched: {error}",
            remedy="The prices in use stay. Try again, or fetch the file elsewhere and use --file.",
        ) from error
    return bytes(body)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES:,} bytes: no price data")
    return raw


def compare(before: PriceData, after: PriceData, at: datetime) -> Comparison:
    """What differs between two states of the data at a time."""
    old, new = _rows(before, at), _rows(after, at)
    changed = [change for name, row in new.items() if name in old for change in changes(old[name], row)]
    changed.sort(key=lambda change: (-(change.factor or 0), change.name, change.token_class))
    return Comparison(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(changed),
    )


def changes(before: PriceRow, after: PriceRow) -> Iterator[Change]:
    """The rates that differ between two rows, below the tiers and in each of them."""
    for name in CLASSES:
        old, new = getattr(before.rates, name), getattr(after.rates, name)
        if old is None or new is None:
            if old is not new:
                yield Change(after.provider, after.model, name, old and old.base, new and new.base)
            continue
        starts = {start for rate in (old, new) for start, _ in rate.tiers}
        points = [(name, 0), *((f"{name} above {start:,}", start + 1) for start in sorted(starts))]
        for label, prompt_tokens in points:
            prices = old.at(prompt_tokens), new.at(prompt_tokens)
            if prices[0] != prices[1]:
                yield Change(after.provider, after.model, label, *prices)


def _rows(data: PriceData, at: datetime) -> dict[str, PriceRow]:
    book = PriceBook({}, Snapshot(lambda: data))
    return {f"{row.provider}/{row.model}": row for row in book.rows(at)}


def _models(data: PriceData) -> int:
    return sum(len(provider.models) for provider in data.providers)


def _check(
    newer: PriceData, current: PriceData, comparison: Comparison, at: datetime, accepted: Collection[str]
) -> None:
    known = _models(current)
    still = known - len(comparison.removed)
    if still < known * LEAST_SHARE_OF_MODELS:
        raise PriceDataError(f"it has only {still:,} of the {known:,} models known now")
    for name, row in _rows(newer, at).items():
        if (dearest := _dearest(row.rates)) > MOST_USD_PER_MILLION and name not in accepted:
            raise PriceDataError(f"{name} would cost ${dearest:,} per million tokens", remedy=_accept(name))
    jumps = [change for change in comparison.changed if (change.factor or 0) > JUMP and change.name not in accepted]
    if jumps:
        first, others = jumps[0], len(jumps) - 1
        more = f" (and {others} more)" if others else ""
        raise PriceDataError(
            f"the {first.token_class} price of {first.name} would go from ${first.before} to ${first.after}"
            f" per million tokens{more}",
            remedy=_accept(first.name),
        )


def _accept(name: str) -> str:
    return f"If that is right, say so with --accept {name}."


def _dearest(rates: Rates) -> Decimal:
    found = [Decimal(0)]
    for name in CLASSES:
        rate = getattr(rates, name)
        if rate is not None:
            found += [rate.base, *(price for _, price in rate.tiers)]
    return max(found)
