"""Files into the ledger: read, priced, added in batches, with an account of all that was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Protocol

import msgspec

from breakeven.errors import InputError, RecordRejected
from breakeven.ledger.importers.fields import day_of
from breakeven.ledger.importers.found import NO_OPTIONS, Importer, LeftOut, Options
from breakeven.ledger.importers.price import Pricer
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.sources import Located
from breakeven.ledger.records import Call, UsageBucket
from breakeven.ledger.rollup import exact
from breakeven.ledger.store import Merged

BATCH = 5000
SHOWN_PROBLEMS = 5


class Books(Protocol):
    """The part of the ledger's database that an import writes to."""

    def merge(self, batch: Iterable[Call]) -> Merged:
        """As ``Store.merge``."""
        ...

    def insert_buckets(self, batch: Iterable[UsageBucket]) -> int:
        """As ``Store.insert_buckets``."""
        ...


class ShownProblem(msgspec.Struct, frozen=True):
    """A line that was skipped; ``line`` is ``None`` for what only the database refused."""

    file: str
    line: int | None
    what: str


class Account(msgspec.Struct):
    """What one source's files held.

    Attributes:
        files: how many were read.
        calls / buckets: what was found, repeats of the same call included.
        new_calls / grown_calls / new_buckets: what was not in the ledger yet; of what a later state was found.
        tokens: of the new calls, prompt and output.
        first_day / last_day: of the new calls and of all buckets, in UTC.
        skipped: lines that could not be read.
        problems: the first of them.
        left_out: what was read and is no usage, and why.
    """

    source: str
    files: int = 0
    calls: int = 0
    buckets: int = 0
    new_calls: int = 0
    grown_calls: int = 0
    new_buckets: int = 0
    tokens: int = 0
    billed_usd: Decimal = Decimal(0)
    billed_unknown: int = 0
    first_day: str | None = None
    last_day: str | None = None
    skipped: int = 0
    problems: list[ShownProblem] = []
    left_out: dict[str, int] = {}


class Import:
    """One run over some files.

    Args:
        books: where records go.
        pricer: prices them.
        subscribed: whether subscriptions pay for the calls of sources that do not tell.
        options: what the user said of the files.
        progress: is told of bytes as they are read.
    """

    def __init__(
        self,
        books: Books,
        pricer: Pricer,
        options: Options = NO_OPTIONS,
        *,
        subscribed: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._books = books
        self._pricer = pricer
        self._options = options
        self._subscribed = subscribed
        self._progress = progress
        self._accounts: dict[str, Account] = {}

    def run(self, files: Iterable[Located]) -> list[Account]:
        """Read all files; the account of each source.

        Raises:
            InputError: a file cannot be read. What was read before is in the ledger.
            LedgerError: the ledger cannot be written; likewise.
        """
        for file in files:
            try:
                with file.path.open("rb") as stream:
                    self._read(OpenFile(file.path, stream, self._progress), file.importer)
            except OSError as error:
                raise InputError(f"{file.path} cannot be read: {error.strerror}") from error
        return list(self._accounts.values())

    def _read(self, file: OpenFile, importer: Importer) -> None:
        account = self._accounts.setdefault(importer.name, Account(importer.name))
        account.files += 1
        calls: list[Call] = []
        buckets: list[UsageBucket] = []
        for found in importer.read(file, self._options):
            if isinstance(found, Call):
                calls.append(found)
                if len(calls) >= BATCH:
                    self._add_calls(account, file, importer, calls)
            elif isinstance(found, UsageBucket):
                buckets.append(found)
                if len(buckets) >= BATCH:
                    self._add_buckets(account, file, importer, buckets)
            elif isinstance(found, LeftOut):
                account.left_out[found.why] = account.left_out.get(found.why, 0) + 1
            else:
                self._skip(account, file, found.line, found.what)
        self._add_calls(account, file, importer, calls)
        self._add_buckets(account, file, importer, buckets)

    def _add_calls(self, account: Account, file: OpenFile, importer: Importer, calls: list[Call]) -> None:
        account.calls += len(calls)
        subscription = importer.subscription if self._subscribed else None
        price = self._pricer.call
        priced = [price(call, subscription=subscription) for call in calls] if importer.prices else list(calls)
        calls.clear()
        for merged in self._merged(account, file, priced):
            self._count(account, merged)

    def _merged(self, account: Account, file: OpenFile, calls: list[Call]) -> Iterator[Merged]:
        """Add the calls that the database takes, and skip those that it refuses for their content."""
        try:
            yield self._books.merge(calls)
        except RecordRejected as error:
            if len(calls) == 1:
                self._skip(account, file, None, str(error))
                return
            half = len(calls) // 2
            yield from self._merged(account, file, calls[:half])
            yield from self._merged(account, file, calls[half:])

    def _count(self, account: Account, merged: Merged) -> None:
        account.new_calls += len(merged.new)
        account.grown_calls += len(merged.grown)
        for call in merged.new:
            _cover(account, day_of(call.received_at))
            for attempt in call.attempts:
                account.tokens += 0 if attempt.tokens is None else attempt.tokens.total
                if attempt.money.billed is None:
                    account.billed_unknown += 1
                else:
                    account.billed_usd = exact.add(account.billed_usd, attempt.money.billed)

    def _add_buckets(self, account: Account, file: OpenFile, importer: Importer, buckets: list[UsageBucket]) -> None:
        account.buckets += len(buckets)
        priced = [self._pricer.bucket(bucket) for bucket in buckets] if importer.prices else list(buckets)
        buckets.clear()
        self._insert(account, file, priced)

    def _insert(self, account: Account, file: OpenFile, buckets: list[UsageBucket]) -> None:
        """As ``_merged``, for buckets."""
        try:
            account.new_buckets += self._books.insert_buckets(buckets)
        except RecordRejected as error:
            if len(buckets) == 1:
                self._skip(account, file, None, str(error))
                return
            half = len(buckets) // 2
            self._insert(account, file, buckets[:half])
            self._insert(account, file, buckets[half:])
        else:
            for bucket in buckets:
                _cover(account, day_of(bucket.start))

    def _skip(self, account: Account, file: OpenFile, line: int | None, what: str) -> None:
        account.skipped += 1
        if len(account.problems) < SHOWN_PROBLEMS:
            account.problems.append(ShownProblem(str(file.path), line, what))


def _cover(account: Account, day: str) -> None:
    account.first_day = day if account.first_day is None else min(account.first_day, day)
    account.last_day = day if account.last_day is None else max(account.last_day, day)
