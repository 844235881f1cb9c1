"""Our own export: JSON lines of calls and buckets, which ``breakeven export`` writes.

A call's line also carries its time and the tokens of its last attempt on the outside, which makes it a line of a trace
for ``breakeven plan --trace``. Records come back as they were recorded, money included.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from breakeven.errors import InputError
from breakeven.ledger.importers.found import Found, Importer, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.records import IMPORTED, Call, UsageBucket

NAME = "breakeven"


class Line(msgspec.Struct, omit_defaults=True):
    """A line of an export; a call or a bucket.

    Attributes:
        at: when the call was received, Unix seconds.
        uncached_input / cache_read / cache_write_5m / cache_write_1h / output: tokens of its last attempt, where
            somebody counted them.
    """

    at: float | None = None
    uncached_input: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    call: Call | None = None
    bucket: UsageBucket | None = None


_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


def call_line(call: Call) -> bytes:
    """The line of a call, without its end."""
    tokens = call.attempts[-1].tokens if call.attempts else None
    if tokens is None:
        return _encoder.encode(Line(at=call.received_at, call=call))
    return _encoder.encode(
        Line(
            at=call.received_at,
            uncached_input=tokens.uncached_input,
            cache_read=tokens.cache_read,
            cache_write_5m=tokens.cache_write_5m,
            cache_write_1h=tokens.cache_write_1h,
            output=tokens.output,
            call=call,
        )
    )


def bucket_line(bucket: UsageBucket) -> bytes:
    """The line of a bucket, without its end."""
    return _encoder.encode(Line(bucket=bucket))


def sniff(path: Path, head: bytes) -> float:  # noqa: ARG001 - every importer takes it
    """Lines begin with the time of a call, or with a bucket."""
    first = head.split(b"\n", 1)[0]
    return (
        1.0 if first.startswith((b'{"at":', b'{"bucket":')) and (b'"call":' in first or b'"origin":' in first) else 0.0
    )


def read(file: OpenFile, options: Options) -> Iterator[Found]:  # noqa: ARG001 - every importer takes them
    """The records as they were exported; calls of another gateway are marked as imported."""
    for number, line in file.lines():
        try:
            found = _decoder.decode(line)
        except (msgspec.DecodeError, ValueError, InputError) as error:
            yield Problem(number, str(error))
            continue
        if found.bucket is not None:
            yield found.bucket
        elif found.call is not None:
            call = found.call
            marked = call.origin.startswith(IMPORTED)
            yield call if marked else msgspec.structs.replace(call, origin=IMPORTED + NAME)
        else:
            yield Problem(number, "neither a call nor a bucket")


IMPORTER = Importer(NAME, "exports of breakeven itself", sniff, read, prices=False)
