"""Files into the ledger: read, priced, added in batches, with an account of all that was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from breakeven.errors import InputError, RecordRejected
from breakeven.ledger.importers.fields import day_of
from breakeven.ledger.importers.found import NO_OPTIONS, Importer, LeftOut, Options, Problem
from breakeven.ledger.importers.price import Pricer
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.sources import Located
from breakeven.ledger.records import Call, UsageBucket
from breakeven.ledger.rollup import exact
from breakeven.ledger.store import Merged

BATCH = 20_000
"""Records to a transaction: it takes about a second, in which the gateway's journal holds its calls; smaller ones write
the pages of the index over and over, because ids come in no order."""
SHOWN_PROBLEMS = 5

Record = TypeVar("Record", Call, UsageBucket)


class Books(Protocol):
    """The part of the ledger's database that an import writes to."""

    def merge(self, batch: Iterable[Call], complete: Callable[[Call], Call]) -> Merged:
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
        options: what the user said of the files.
        subscribed: whether subscriptions pay for the calls of sources that do not tell.
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
        self._sources: dict[str, _Source] = {}

    def run(self, files: Iterable[Located]) -> list[Account]:
        """Read all files; the account of each source.

        Raises:
            InputError: a file cannot be read. What was read before is in the ledger.
            LedgerError: the ledger cannot be written; likewise.
        """
        try:
            for file in files:
                try:
                    with file.path.open("rb") as stream:
                        self._read(OpenFile(file.path, stream, self._progress), file.importer)
                except OSError as error:
                    raise InputError(f"{file.path} cannot be read: {error.strerror}") from error
        finally:
            for source in self._sources.values():
                source.write()
        return [source.account for source in self._sources.values()]

    def _read(self, file: OpenFile, importer: Importer) -> None:
        source = self._sources.get(importer.name)
        if source is None:
            source = self._sources[importer.name] = _Source(importer, self._books, self._completion(importer))
        source.account.files += 1
        for found in importer.read(file, self._options):
            if isinstance(found, Problem):
                source.skip(file.path, found.line, found.what)
            elif isinstance(found, LeftOut):
                source.leave_out(found.why)
            else:
                source.add(found, file.path)

    def _completion(self, importer: Importer) -> _Completion:
        if not importer.prices:
            return _Completion(lambda call: call, lambda bucket: bucket)
        subscription = importer.subscription if self._subscribed else None
        return _Completion(lambda call: self._pricer.call(call, subscription=subscription), self._pricer.bucket)


class _Completion(NamedTuple):
    """What remains to be done to records that are sure to be written."""

    call: Callable[[Call], Call]
    bucket: Callable[[UsageBucket], UsageBucket]


class _Source:
    """What one source's files held, and what of it waits to be written."""

    def __init__(self, importer: Importer, books: Books, completion: _Completion) -> None:
        self.account = Account(importer.name)
        self._books = books
        self._completion = completion
        self._calls: list[tuple[Call, Path]] = []
        self._buckets: list[tuple[UsageBucket, Path]] = []

    def add(self, found: Call | UsageBucket, path: Path) -> None:
        if isinstance(found, Call):
            self._calls.append((found, path))
        else:
            self._buckets.append((found, path))
        if len(self._calls) + len(self._buckets) >= BATCH:
            self.write()

    def skip(self, path: Path, line: int | None, what: str) -> None:
        self.account.skipped += 1
        if len(self.account.problems) < SHOWN_PROBLEMS:
            self.account.problems.append(ShownProblem(str(path), line, what))

    def leave_out(self, why: str) -> None:
        self.account.left_out[why] = self.account.left_out.get(why, 0) + 1

    def write(self) -> None:
        calls, self._calls = self._calls, []
        buckets, self._buckets = self._buckets, []
        self.account.calls += len(calls)
        self.account.buckets += len(buckets)
        self._taken(calls, self._merge)
        self._taken(buckets, self._insert)

    def _taken(self, records: list[tuple[Record, Path]], write: Callable[[list[Record]], None]) -> None:
        """Write the records that the database takes, and skip those that it refuses for their content."""
        if not records:
            return
        try:
            write([record for record, _ in records])
        except RecordRejected as error:
            if len(records) == 1:
                self.skip(records[0][1], None, str(error))
                return
            half = len(records) // 2
            self._taken(records[:half], write)
            self._taken(records[half:], write)

    def _merge(self, calls: list[Call]) -> None:
        merged, account = self._books.merge(calls, self._completion.call), self.account
        account.new_calls += len(merged.new)
        account.grown_calls += len(merged.grown)
        if merged.new:
            times = [call.received_at for call in merged.new]
            self._cover(min(times), max(times))
        for call in merged.new:
            for attempt in call.attempts:
                account.tokens += 0 if attempt.tokens is None else attempt.tokens.total
                if attempt.money.billed is None:
                    account.billed_unknown += 1
                else:
                    account.billed_usd = exact.add(account.billed_usd, attempt.money.billed)

    def _insert(self, buckets: list[UsageBucket]) -> None:
        self.account.new_buckets += self._books.insert_buckets([self._completion.bucket(bucket) for bucket in buckets])
        self._cover(min(bucket.start for bucket in buckets), max(bucket.start for bucket in buckets))

    def _cover(self, first: float, last: float) -> None:
        account, first_day, last_day = self.account, day_of(first), day_of(last)
        account.first_day = first_day if account.first_day is None else min(account.first_day, first_day)
        account.last_day = last_day if account.last_day is None else max(account.last_day, last_day)
