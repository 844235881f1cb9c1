"""LiteLLM's table ``LiteLLM_SpendLogs``: CSV, JSON lines or a JSON array of its rows.

- ``prompt_tokens`` includes cached tokens, ``completion_tokens`` includes reasoning. The table has no columns for
  either; ``metadata.usage_object`` tells where the version writes it, else they are unknown.
- ``spend`` is what LiteLLM reckoned was billed. It is 0 for models that LiteLLM has no price for, so 0 for a call that
  used tokens counts as not stated.
- Rows answered from LiteLLM's own cache reached no model and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from breakeven.economics.tokens import TokenCounts
from breakeven.errors import InputError
from breakeven.ledger.importers.fields import count, dollars, moment, native_id, on_this_machine
from breakeven.ledger.importers.found import Found, Importer, LeftOut, Options, Problem
from breakeven.ledger.importers.reading import OpenFile
from breakeven.ledger.importers.single import imported_call
from breakeven.ledger.records import Call, Durations, Locality

NAME = "litellm"
COLUMNS = (b"request_id", b"spend", b"prompt_tokens", b"completion_tokens", b"startTime")
CATALOGUE = {
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "vertex_ai": "google",
    "vertex_ai-anthropic_models": "google",
    "gemini": "google",
    "azure": "azure",
    "azure_ai": "azure",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "xai": "x-ai",
    "text-completion-openai": "openai",
    "moonshot": "moonshotai",
}
"""LiteLLM's name of a provider → the price book's, where they differ."""
LOCAL_PROVIDERS = {"ollama", "ollama_chat", "lm_studio", "llamafile", "hosted_vllm", "vllm", "xinference"}
"""Served on machines of one's own, unless the address says otherwise."""

Row = Mapping[str, Any]


def sniff(path: Path, head: bytes) -> float:  # noqa: ARG001 - every importer takes it
    """The table's columns."""
    return 0.95 if all(name in head for name in COLUMNS) else 0.0


def read(file: OpenFile, options: Options) -> Iterator[Found]:  # noqa: ARG001 - every importer takes them
    """A call for each row that reached a model."""
    first = file.first_line()
    heading = b"{" not in first and all(name in first for name in COLUMNS)
    rows = _csv_rows(file) if heading else _json_rows(file)
    for found in rows:
        if isinstance(found, Problem):
            yield found
            continue
        number, row = found
        try:
            yield _call(row)
        except (ValueError, KeyError, InputError) as error:
            yield Problem(number, f"no {error}" if isinstance(error, KeyError) else str(error))


def _json_rows(file: OpenFile) -> Iterator[tuple[int, Row] | Problem]:
    for number, document in file.documents():
        try:
            yield number, msgspec.json.decode(document, type=dict[str, Any])
        except msgspec.DecodeError as error:
            yield Problem(number, str(error))


def _csv_rows(file: OpenFile) -> Iterator[tuple[int, Row] | Problem]:
    heading: list[str] | None = None
    for found in file.rows():
        if isinstance(found, Problem):
            yield found
        elif heading is None:
            heading = found[1]
        elif len(found[1]) != len(heading):
            yield Problem(found[0], f"{len(found[1])} fields where the heading has {len(heading)}")
        else:
            yield found[0], dict(zip(heading, found[1], strict=True))


def _call(row: Row) -> Call | LeftOut:
    if str(row.get("cache_hit")).lower() == "true":
        return LeftOut("calls answered from LiteLLM's own cache")
    metadata = _object(row.get("metadata"))
    failed = "failure" in {row.get("status"), metadata.get("status")}
    started, ended = _moment(row, "startTime"), _moment(row, "endTime")
    if started is None:
        raise ValueError("no startTime")
    answered = _moment(row, "completionStartTime")
    provider, locality = _provider(row)
    tokens: TokenCounts | None = _tokens(row, _object(metadata.get("usage_object")))
    if failed and tokens is not None and not tokens.total:
        tokens = None
    model = str(row.get("model") or "") or _missing("model")
    return imported_call(
        NAME,
        native_id(NAME, str(row["request_id"] or "") or _missing("request_id")),
        at=started,
        endpoint=str(row.get("call_type") or "completion"),
        provider=provider,
        model=model.removeprefix(f"{row.get('custom_llm_provider')}/"),
        model_asked=str(row.get("model_group") or model),
        tokens=tokens,
        locality=locality,
        outcome="failed" if failed else "completed",
        durations=Durations(
            total=None if ended is None else max(0.0, round(ended - started, 6)),
            first_token=None if answered is None or answered == ended else max(0.0, round(answered - started, 6)),
        ),
        stated_usd=_spend(row, tokens, locality),
        key=_text(metadata.get("user_api_key_alias")),
        agent=_text(row.get("end_user")) or _text(row.get("user")),
        task=_text(metadata.get("user_api_key_team_alias")),
    )


def _tokens(row: Row, usage: Mapping[str, Any]) -> TokenCounts:
    """``usage`` follows OpenAI's shape with Anthropic's fields beside it; the two tell the same counts."""
    details = _object(usage.get("prompt_tokens_details"))
    read = _first(usage.get("cache_read_input_tokens"), details.get("cached_tokens"))
    written = _first(usage.get("cache_creation_input_tokens"), details.get("cache_creation_tokens"))
    split = _object(details.get("cache_creation_token_details"))
    one_hour = _first(split.get("ephemeral_1h_input_tokens")) or 0
    reasoning = _first(_object(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    output = count(row["completion_tokens"])
    return TokenCounts.reported(
        input_tokens=count(row["prompt_tokens"]),
        output_tokens=output,
        input_includes_cached=True,
        cache_read=read or 0,
        cache_write_5m=(written or 0) - one_hour,
        cache_write_1h=one_hour,
        reasoning=reasoning if reasoning is None or reasoning <= output else None,
        cache_known=read is not None,
    )


def _spend(row: Row, tokens: TokenCounts | None, locality: Locality) -> Decimal | None:
    if row.get("spend") in (None, ""):
        return None
    spend = dollars(row["spend"])
    used = tokens is not None and tokens.total > 0
    return None if not spend and (used or locality == "local") else spend


def _provider(row: Row) -> tuple[str, Locality]:
    named = str(row.get("custom_llm_provider") or "")
    if not named and "/" in str(row.get("model")):
        named = str(row["model"]).split("/", 1)[0]
    address = str(row.get("api_base") or "")
    local = on_this_machine(address) if address else named in LOCAL_PROVIDERS
    return CATALOGUE.get(named, named) or "unknown", "local" if local else "remote"


def _moment(row: Row, column: str) -> float | None:
    value = row.get(column)
    return None if value in (None, "") else moment(str(value))


def _object(value: object) -> Mapping[str, Any]:
    """A JSON object, as it stands or as text, as in CSV; anything else is taken for nothing said."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            return msgspec.json.decode(value, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ValueError(f"metadata that is no JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _first(*values: object) -> int | None:
    return next((count(value) for value in values if value is not None), None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _missing(what: str) -> str:
    raise ValueError(f"no {what}")


IMPORTER = Importer(NAME, "LiteLLM's spend logs", sniff, read)
