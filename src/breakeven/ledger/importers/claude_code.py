"""Claude Code: ``~/.claude/projects/**/*.jsonl``, one line for each state of each message of a session.

- ``input_tokens`` excludes cached tokens; cache writes are split by how long they are kept, and in old logs were all
  for five minutes.
- A streamed answer is written several times, its output growing: the state with the most output counts.
- Sidechains, resumed and copied sessions repeat messages: the message's id, which the API gives out once, tells. Other
  servers' ids may repeat, so there the request's id or the session belongs to it.
- An advisor's tokens are not in the message's own count; they stand in ``iterations``, with a model of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.fields import moment, native_id
from breakeven.ledger.importers.found import Found, Importer, LeftOut, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.single import imported_call
from breakeven.ledger.records import Call

NAME = "claude-code"
SYNTHETIC = "<synthetic>"
"""The model of messages that Claude Code writes itself."""
API_MESSAGE = "msg_"
"""How ids of Anthropic's own API begin."""
WHOLE_ID = len("msg_01XFDUDYJgAACzvnptvVoYEL")


class _CacheWrites(msgspec.Struct):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class _Counts(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheWrites | None = None

    def tokens(self) -> TokenCounts:
        written = self.cache_creation_input_tokens or 0
        split = self.cache_creation or _CacheWrites()
        one_hour = split.ephemeral_1h_input_tokens
        return TokenCounts.reported(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            input_includes_cached=False,
            cache_read=self.cache_read_input_tokens or 0,
            cache_write_5m=max(split.ephemeral_5m_input_tokens, written - one_hour),
            cache_write_1h=one_hour,
        )


class _Iteration(_Counts):
    type: str | None = None
    model: str | None = None


class _Usage(_Counts):
    iterations: list[_Iteration] | None = None
    speed: str | None = None
    service_tier: str | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None


class _Entry(msgspec.Struct, rename="camel"):
    type: str | None = None
    timestamp: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    cwd: str | None = None
    message: _Message | None = None
    data: msgspec.Raw = msgspec.Raw()


class _Kind(msgspec.Struct):
    type: str | None = None


class _Progress(msgspec.Struct):
    message: _Entry | None = None


_entry = msgspec.json.Decoder(_Entry)
_kind = msgspec.json.Decoder(_Kind)
_progress = msgspec.json.Decoder(_Progress)


def sniff(path: Path, head: bytes) -> float:
    """Sessions name their entries' parents, and nobody else does; where their first lines are of other kinds, the
    folder tells."""
    if path.suffix != ".jsonl":
        return 0.0
    if b'"parentUuid"' in head and b'"sessionId"' in head:
        return 1.0
    return 0.6 if {".claude", "claude"} & set(path.parts) and "projects" in path.parts else 0.0


def read(file: OpenFile, options: Options) -> Iterator[Found]:  # noqa: ARG001 - every importer takes them
    """A call for each state of each answered message."""
    for number, line in file.lines():
        try:
            entry = _read_entry(line)
            if entry is not None:
                yield from _calls(entry)
        except (msgspec.DecodeError, ValueError, InputError) as error:
            yield Problem(number, str(error))


def _read_entry(line: bytes) -> _Entry | None:
    """An answer's entry, a subagent's inside a note of its progress included; ``None`` for entries of other kinds."""
    try:
        entry = _entry.decode(line)
    except msgspec.ValidationError:
        if _kind.decode(line).type == "assistant":
            raise
        return None
    if entry.type == "progress" and b'"usage"' in line:
        try:
            inner = _progress.decode(entry.data).message
        except msgspec.DecodeError:
            return None
        if inner is None or inner.type != "assistant":
            return None
        inner.session_id, inner.cwd = inner.session_id or entry.session_id, inner.cwd or entry.cwd
        inner.timestamp = inner.timestamp or entry.timestamp
        return inner
    return entry if entry.type == "assistant" else None


def _calls(entry: _Entry) -> Iterator[Call | LeftOut]:
    message = entry.message
    if message is None or message.usage is None:
        yield LeftOut("answers without usage")
        return
    if message.model == SYNTHETIC:
        yield LeftOut("messages that Claude Code wrote itself")
        return
    if entry.timestamp is None or not message.id or not message.model:
        raise ValueError("an answer without timestamp, id or model")
    usage = message.usage
    yield _call(entry, message.id, "", message.model, usage.tokens(), _tier(usage))
    advice = [iteration for iteration in usage.iterations or () if iteration.type == "advisor_message"]
    for place, iteration in enumerate(advice):
        model = iteration.model or message.model
        yield _call(entry, message.id, f"advice {place}", model, iteration.tokens(), "")


def _call(entry: _Entry, message_id: str, part: str, model: str, tokens: TokenCounts, tier: str) -> Call:
    assert entry.timestamp is not None  # noqa: S101 - checked by the caller
    unique = message_id.startswith(API_MESSAGE) and len(message_id) >= WHOLE_ID
    scope = "" if unique else entry.request_id or entry.session_id or ""
    return imported_call(
        NAME,
        native_id(NAME, *filter(None, (message_id, scope, part))),
        at=moment(entry.timestamp),
        endpoint="/v1/messages",
        provider=_provider(model) + tier,
        model=model,
        tokens=tokens,
        agent=NAME,
        task=entry.cwd and (entry.cwd.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or None),
        stream=True,
    )


def _provider(model: str) -> str:
    """Who served it, as far as the model's name tells: Amazon and Google put marks into Claude's names, and any other
    model came through a gateway that nobody names."""
    if "anthropic.claude" in model:
        return "aws"
    if model.startswith("claude"):
        return "google" if "@" in model else "anthropic"
    return "unknown"


def _tier(usage: _Usage) -> str:
    """What makes the provider's name unknown to the price book, for tiers at rates that the book does not hold."""
    if usage.speed not in {None, "standard"}:
        return f"-{usage.speed}"
    return f"-{usage.service_tier}" if usage.service_tier in {"priority", "flex"} else ""


IMPORTER = Importer(NAME, "session logs of Claude Code", sniff, read, subscription="anthropic")
