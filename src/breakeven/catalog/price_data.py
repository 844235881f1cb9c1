"""The data behind the price book: what ``genai-prices`` brings along, or a newer state of it in the home folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from breakeven.errors import PriceDataError

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, Provider

FILE_NAME = "prices.update"
log = logging.getLogger(__name__)


class UpdateRecord(msgspec.Struct, frozen=True):
    """Where an update came from.

    Attributes:
        url: the address or file it was read from.
        fetched_at: when (UTC).
        sha256: of the data as received, in hex.
    """

    url: str
    fetched_at: datetime
    sha256: str

    @property
    def source(self) -> str:
        """As provenance names it: short, since every attempt carries it."""
        return f"genai-prices update {self.fetched_at:%Y-%m-%d} ({self.sha256[:12]})"


@dataclass(frozen=True, slots=True)
class PriceData:
    """One state of the price data.

    Attributes:
        source: name and version or date, as provenance names it.
        update: where it came from, ``None`` for the bundled data.
        problem: why a kept update is not used, ``None`` when there is none or it is.
    """

    data: DataSnapshot
    source: str
    update: UpdateRecord | None = None
    problem: str | None = None

    @property
    def providers(self) -> list[Provider]:
        """All providers with their models."""
        found: list[Provider] = self.data.providers
        return found

    def find(self, provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
        """The entry of a model at a provider."""
        try:
            found: tuple[Provider, ModelInfo] = self.data.find_provider_model(model, None, provider, None)
        except LookupError:
            return None
        return found


class Snapshot:
    """Price data that is loaded when it is first needed, which takes up to a second."""

    def __init__(self, load: Callable[[], PriceData]) -> None:
        self._load = load
        self._loaded: PriceData | None = None

    @property
    def loaded(self) -> PriceData:
        """The data."""
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    @classmethod
    def bundled(cls) -> Snapshot:
        """The data that the installed ``genai-prices`` package brings."""
        return cls(bundled)

    @classmethod
    def standing(cls, home: Path | None) -> Snapshot:
        """The update kept in the home folder; without one, or when it is damaged, the bundled data."""
        return cls(bundled if home is None else lambda: standing(home))


@cache
def bundled() -> PriceData:
    """The data of the installed package."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - takes most of a second

    return PriceData(get_snapshot(), f"genai-prices {version('genai-prices')}")


def standing(home: Path) -> PriceData:
    """What the commands use: the kept update, or the bundled data and, if an update is damaged, why."""
    try:
        kept = _read(home / FILE_NAME)
    except PriceDataError as error:
        log.warning("%s", error)
        plain = bundled()
        return PriceData(plain.data, plain.source, problem=error.message)
    return kept or bundled()


def keep(home: Path, raw: bytes, record: UpdateRecord) -> Path:
    """Put an update in place of the last one, whole or not at all.

    Raises:
        PriceDataError: the folder cannot be written; what was there stays.
    """
    path = home / FILE_NAME
    draft = home / f".{FILE_NAME}.{os.getpid()}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(record) + b"\n" + raw)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise PriceDataError(f"{path} cannot be written: {error.strerror}") from error
    return path


def discard(home: Path) -> bool:
    """Go back to the bundled data; whether there was an update.

    Raises:
        PriceDataError: it cannot be deleted.
    """
    path = home / FILE_NAME
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise PriceDataError(f"{path} cannot be deleted: {error.strerror}") from error
    return True


def parse(raw: bytes) -> DataSnapshot:
    """Price data from its JSON form.

    Raises:
        PriceDataError: it is empty, no JSON, cut off, or not a list of providers with valid prices.
    """
    if not raw.strip():
        raise PriceDataError("the price data is empty")
    if raw.lstrip()[:1] == b"<":
        raise PriceDataError("the price data is a web page, not JSON")
    try:
        document = json.loads(raw, parse_float=str, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise PriceDataError(f"the price data is not JSON, or cut off: {error}") from error
    if not isinstance(document, list):
        raise PriceDataError(f"the price data is no list of providers but {type(document).__name__}")
    return _typed(document)


def _no_number(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not a price")


def _typed(document: list[Any]) -> DataSnapshot:
    from genai_prices.data_snapshot import DataSnapshot  # noqa: PLC0415 - see bundled

    # The package has no public way to read bytes that it has not fetched itself.
    from genai_prices.types import _providers_from_raw  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415 - needed here only

    try:
        providers = _providers_from_raw(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PriceDataError(f"the price data is malformed at {place}: {first['msg']}") from error
    except (ValueError, TypeError, ArithmeticError, AttributeError, RecursionError) as error:
        raise PriceDataError(f"the price data is malformed: {error}") from error
    for provider in providers:
        for model in provider.models:
            _refuse_absurd(f"{provider.id}/{model.id}", model)
    return DataSnapshot(providers=providers, from_auto_update=False)


def _refuse_absurd(name: str, model: ModelInfo) -> None:
    """Every price of a model, of any date, condition and tier, must be an amount; the package checks that on use."""
    standard = model.prices if isinstance(model.prices, list) else [model]
    for holder in (*standard, *(model.price_variants or ())):
        for key, value in vars(holder.prices).items():
            tiers = getattr(value, "tiers", ())
            amounts = [getattr(value, "base", value), *(tier.price for tier in tiers)]
            if any(amount is not None and not (amount.is_finite() and amount >= 0) for amount in amounts):
                raise PriceDataError(f"{name} has a {key} that is no amount: {value}")
            if any(tier.start < 0 for tier in tiers):
                raise PriceDataError(f"{name} has a tier of {key} below 0 tokens")


def _read(path: Path) -> PriceData | None:
    try:
        head, _, raw = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(path, error.strerror or "") from error
    try:
        record = msgspec.json.decode(head, type=UpdateRecord)
    except msgspec.MsgspecError as error:
        raise _damaged(path, str(error)) from error
    if hashlib.sha256(raw).hexdigest() != record.sha256:
        raise _damaged(path, "its checksum differs")
    try:
        return PriceData(parse(raw), record.source, record)
    except PriceDataError as error:
        raise _damaged(path, error.message) from error


def _damaged(path: Path, why: str) -> PriceDataError:
    return PriceDataError(
        f"the price update {path} cannot be used ({why}); the bundled prices are",
        remedy="Fetch it again with breakeven prices update, or drop it with breakeven prices reset.",
    )
