"""Codex: ``~/.codex/sessions/**/*.jsonl`` and ``archived_sessions``, one file for each session.

- ``total_token_usage`` adds up the session; ``last_token_usage`` is the call just made. Unchanged totals are repeats of
  the display, not calls. Where only totals stand, a call is the difference of two.
- ``input_tokens`` includes cached tokens, ``output_tokens`` includes reasoning.
- The model stands in the ``turn_context`` before, or, in a session that was taken up again, in the first one after.
- A forked session begins with a copy of its parent's history, with new times. The copy is left out: it counts where it
  was made. A turn's id tells when it was made; without ids, what was written within a second of the fork is the copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec.structs import replace

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.fields import digest, moment, native_id
from breakeven.ledger.importers.found import Found, Importer, LeftOut, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.single import imported_call
from breakeven.ledger.records import Call

NAME = "codex"
COPY_SECONDS = 1.0
"""How long after its fork a session is still being filled with its parent's history, at most."""
UUID7 = "7"


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0

    def minus(self, other: _Usage) -> _Usage:
        return _Usage(*(getattr(self, name) - getattr(other, name) for name in self.__struct_fields__))

    def tokens(self) -> TokenCounts:
        return TokenCounts.reported(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            input_includes_cached=True,
            cache_read=self.cached_input_tokens,
            cache_write_5m=self.cache_write_input_tokens,
            reasoning=self.reasoning_output_tokens,
        )


_NONE_YET = _Usage()


class _Info(msgspec.Struct):
    total_token_usage: _Usage | None = None
    last_token_usage: _Usage | None = None


class _Payload(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    timestamp: str | None = None
    cwd: str | None = None
    forked_from_id: str | None = None
    parent_thread_id: str | None = None
    turn_id: str | None = None
    model: str | None = None
    model_provider: str | None = None
    info: _Info | None = None


class _Line(msgspec.Struct):
    type: str | None = None
    timestamp: str | None = None
    payload: _Payload | None = None


class _Kinds(msgspec.Struct):
    type: str | None = None


class _Kind(msgspec.Struct):
    type: str | None = None
    payload: _Kinds | None = None


_line = msgspec.json.Decoder(_Line)
_kind = msgspec.json.Decoder(_Kind)
READ_KINDS = {"session_meta", "turn_context"}


@dataclass(slots=True)
class _Session:
    """What has been read of a session so far. ``told_copy`` is whether the last turn was copied from the session that
    this one was forked from, ``None`` while no turn has told."""

    id: str
    provider: str = "openai"
    model: str | None = None
    task: str | None = None
    forked_at: float | None = None
    told_copy: bool | None = None
    begun: bool = False
    total: _Usage = _NONE_YET
    repeats: dict[str, int] = field(default_factory=dict)


def sniff(path: Path, head: bytes) -> float:
    """Rollouts begin with a ``session_meta`` entry."""
    if path.suffix != ".jsonl":
        return 0.0
    if b'"session_meta"' in head and b'"payload"' in head:
        return 1.0
    return 0.9 if b'"token_count"' in head and b'"payload"' in head else 0.0


def read(file: OpenFile, options: Options) -> Iterator[Found]:  # noqa: ARG001 - every importer takes them
    """A call for each step of the session's totals."""
    session = _Session(id=file.path.stem[-36:])
    waiting: list[Call] = []  # for a model: sessions that are taken up again tell it after their first calls
    for number, line in file.lines():
        try:
            entry = _read_line(line)
            if entry is None or entry.payload is None:
                continue
            for found in _advance(session, entry, entry.payload):
                if isinstance(found, Call) and session.model is None:
                    waiting.append(found)
                else:
                    yield found
        except (msgspec.DecodeError, ValueError, InputError) as error:
            yield Problem(number, str(error))
        if waiting and session.model is not None:
            yield from (_of_model(call, session.model) for call in waiting)
            waiting.clear()
    yield from waiting


def _of_model(call: Call, model: str) -> Call:
    attempts = tuple(replace(attempt, model_asked=model, model_served=model) for attempt in call.attempts)
    return replace(call, model=model, attempts=attempts)


def _read_line(line: bytes) -> _Line | None:
    try:
        return _line.decode(line)
    except msgspec.ValidationError:
        try:
            kind = _kind.decode(line)
        except msgspec.ValidationError:
            return None
        inner = kind.payload.type if kind.payload is not None else None
        if kind.type in READ_KINDS or (kind.type, inner) == ("event_msg", "token_count"):
            raise
        return None


def _advance(session: _Session, entry: _Line, payload: _Payload) -> Iterator[Found]:
    if entry.type == "session_meta":
        _begin(session, entry, payload)
    elif entry.type == "turn_context":
        session.model = payload.model or session.model
        made = _made_at(payload.turn_id)
        if session.forked_at is not None and made is not None:
            session.told_copy = made < session.forked_at
    elif entry.type == "event_msg" and payload.type == "token_count" and payload.info is not None:
        yield from _step(session, entry, payload.info)


def _begin(session: _Session, entry: _Line, payload: _Payload) -> None:
    if session.begun:
        return  # a copy of the parent's own beginning
    session.begun = True
    session.id = payload.id or session.id
    session.provider = _provider(payload.model_provider)
    session.task = payload.cwd and (payload.cwd.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or None)
    if payload.forked_from_id or payload.parent_thread_id:
        created = _made_at(session.id)
        stamp = payload.timestamp or entry.timestamp
        session.forked_at = created if created is not None or stamp is None else moment(stamp)


def _step(session: _Session, entry: _Line, info: _Info) -> Iterator[Found]:
    if entry.timestamp is None:
        raise ValueError("a count of tokens without a timestamp")
    at = moment(entry.timestamp)
    total, last = info.total_token_usage, info.last_token_usage
    if total is None:
        raise ValueError("a count of tokens without total_token_usage")
    if total == session.total:
        yield LeftOut("repeats of the same totals")
        return
    before, session.total = session.total, total
    if _copied(session, at):
        yield LeftOut("history copied from the session that this one was forked from")
        return
    usage = last if last is not None else total if total.input_tokens < before.input_tokens else total.minus(before)
    name = digest(total.input_tokens, total.cached_input_tokens, total.output_tokens, total.reasoning_output_tokens)
    again = session.repeats.get(name, 0)
    session.repeats[name] = again + 1
    yield imported_call(
        NAME,
        native_id(NAME, session.id, name, *([str(again)] if again else [])),
        at=at,
        endpoint="/v1/responses",
        provider=session.provider,
        model=session.model or "unknown",
        tokens=usage.tokens(),
        agent=NAME,
        task=session.task,
        stream=True,
    )


def _copied(session: _Session, at: float) -> bool:
    """Whether what a forked session says at this time is its parent's history."""
    if session.forked_at is None or session.told_copy is not None:
        return bool(session.told_copy)
    if at > session.forked_at + COPY_SECONDS:
        session.told_copy = False
        return False
    session.forked_at = max(session.forked_at, at)
    return True


def _made_at(identifier: str | None) -> float | None:
    """When an identifier was made, if it is a UUID of version 7, which says so: its first 48 bits are milliseconds."""
    if identifier is None or len(identifier) != 36 or identifier[14] != UUID7:
        return None
    try:
        return int(identifier[:8] + identifier[9:13], 16) / 1000
    except ValueError:
        return None


def _provider(named: str | None) -> str:
    return named if named and named not in {"openai", "openai-chat-completions"} else "openai"


IMPORTER = Importer(NAME, "session logs of Codex", sniff, read, subscription="openai")
