"""Ollama: the answers of ``/api/chat`` and ``/api/generate`` as JSON lines, of which the last of each stream counts.

- Durations are nanoseconds, and ``prompt_eval_duration`` covers only what was not cached.
- ``prompt_eval_count`` is the whole prompt, but some versions counted, and others left out, what was cached. Newer ones
  say how much that was: ``prompt_eval_cached_count``. Without it the cached part is unknown; without
  ``prompt_eval_count`` the tokens are.
- The calls were served on this machine. They carry no watt-hours and no share of the box, which nobody measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.fields import Ordinals, checked_moment, digest, moment
from breakeven.ledger.importers.found import Found, Importer, LeftOut, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.single import imported_call
from breakeven.ledger.records import Call, Durations

NAME = "ollama"
NANOSECONDS = 1e9


class _Answer(msgspec.Struct):
    model: str
    created_at: str
    done: bool
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_cached_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    remote_model: str | None = None
    remote_host: str | None = None
    message: msgspec.Raw = msgspec.Raw()


_answer = msgspec.json.Decoder(_Answer)


def sniff(path: Path, head: bytes) -> float:  # noqa: ARG001 - every importer takes it
    """The fields of an answer."""
    if head.lstrip()[:1] != b"{":
        return 0.0
    return 0.9 if b'"done"' in head and b'"created_at"' in head and b'"model"' in head else 0.0


def read(file: OpenFile, options: Options) -> Iterator[Found]:  # noqa: ARG001 - every importer takes them
    """A call for each finished answer."""
    ordinals = Ordinals()
    for number, document in file.documents():
        try:
            yield _call(_answer.decode(document), ordinals)
        except (msgspec.DecodeError, ValueError, InputError) as error:
            yield Problem(number, str(error))


def _call(answer: _Answer, ordinals: Ordinals) -> Call | LeftOut:
    if not answer.done:
        return LeftOut("pieces of streamed answers")
    if answer.eval_count is None and answer.prompt_eval_count is None:
        return LeftOut("answers without counts, as when a model is loaded or unloaded")
    name = digest(answer.model, answer.created_at, answer.prompt_eval_count, answer.eval_count, answer.total_duration)
    total = _seconds(answer.total_duration)
    remote = answer.remote_host is not None
    return imported_call(
        NAME,
        f"{NAME}:{name}:{ordinals.of(name)}",
        at=checked_moment(moment(answer.created_at) - (total or 0.0)),
        endpoint="/api/chat" if answer.message else "/api/generate",
        provider="ollama-cloud" if remote else "ollama",
        model=answer.remote_model or answer.model if remote else answer.model,
        model_asked=answer.model,
        tokens=_tokens(answer),
        locality="remote" if remote else "local",
        counted_by="provider" if remote else "engine",
        durations=Durations(
            total=total,
            load=_seconds(answer.load_duration),
            prefill=_seconds(answer.prompt_eval_duration),
            decode=_seconds(answer.eval_duration),
        ),
    )


def _tokens(answer: _Answer) -> TokenCounts | None:
    if answer.prompt_eval_count is None:
        return None
    cached = answer.prompt_eval_cached_count
    return TokenCounts.reported(
        input_tokens=answer.prompt_eval_count,
        output_tokens=answer.eval_count or 0,
        input_includes_cached=True,
        cache_read=cached or 0,
        cache_known=cached is not None,
    )


def _seconds(nanoseconds: int | None) -> float | None:
    if nanoseconds is not None and nanoseconds < 0:
        raise ValueError(f"a duration of {nanoseconds} ns")
    return None if nanoseconds is None else nanoseconds / NANOSECONDS


IMPORTER = Importer(NAME, "answers of Ollama's own API", sniff, read)
