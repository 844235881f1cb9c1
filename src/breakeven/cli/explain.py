"""``breakeven explain``: where a request would go and why, without sending it to any model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from breakeven.cli import console
from breakeven.errors import InputError

if TYPE_CHECKING:
    from decimal import Decimal

    from breakeven.config import Settings
    from breakeven.routing.facts import CallFacts

EPILOG = "Example: [bold]breakeven explain request.json --task summarise --label shareable[/]"
LABELS = ("local_only", "shareable")
CONNECT_SECONDS = 2.0
TYPICAL_OUTPUT_TOKENS = 256
CHARACTERS_PER_TOKEN = 4


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=EPILOG)
    def explain(
        request: str = typer.Argument(metavar="REQUEST.json", help="Body of a request; - for standard input."),
        task: str | None = typer.Option(None, help="As if it named this task."),
        label: str | None = typer.Option(None, help="As if its data were labelled so: local_only or shareable."),
        gateway: str | None = typer.Option(None, metavar="URL", help="Running gateway; by default the configured one."),
        offline: bool = typer.Option(False, "--offline", help="Ask no gateway: plan from the configuration alone."),
        key: str | None = typer.Option(None, metavar="env:VARIABLE", help="Where the key for the gateway is kept."),
        config: Path | None = typer.Option(None, help="Configuration file."),
        as_json: bool = typer.Option(False, "--json", help="Print the plan as JSON."),
    ) -> None:
        """Print the plan for a request: which models would be tried in which order, which not, and why.

        A running gateway knows queues, health and budgets. Without one the plan rests on the configuration alone.
        Exit code 1 when nobody could serve the request.
        """
        with console.reporting_errors():
            if label is not None and label not in LABELS:
                raise InputError(f"--label {label!r}: expected {' or '.join(LABELS)}")
            settings = console.load_settings(config)
            body = _body(request)
            plan = None
            if not offline:
                plan = _ask(gateway or f"http://127.0.0.1:{settings.gateway.port}", body, _headers(task, label, key))
                if plan is None and gateway is not None:
                    raise InputError(f"no gateway answers at {gateway}", remedy="Start it, or leave --gateway out.")
            live = plan is not None
            plan = plan or _from_configuration(settings, body, task, label)
            if as_json:
                console.print_json({"live": live, **plan})
            else:
                _print(plan, live=live)
            if not plan["attempts"]:
                raise typer.Exit(console.EXIT_FAILED)


def _body(request: str) -> bytes:
    if request == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(request).read_bytes()
    except OSError as error:
        raise InputError(f"{request} cannot be read: {error.strerror}") from error


def _headers(task: str | None, label: str | None, key: str | None) -> dict[str, str]:
    from breakeven.config.secrets import read_secret

    headers = {"content-type": "application/json"}
    if task is not None:
        headers["x-breakeven-task"] = task
    if label is not None:
        headers["x-breakeven-data"] = label
    if key is not None:
        headers["authorization"] = f"Bearer {read_secret('--key', key)}"
    return headers


def _ask(gateway: str, body: bytes, headers: dict[str, str]) -> dict[str, Any] | None:
    """The plan of a running gateway, ``None`` when none answers there."""
    import json
    import urllib.error
    import urllib.request

    if not gateway.startswith(("http://", "https://")):
        raise InputError(f"--gateway {gateway!r}: expected http://… or https://…")
    url = gateway.rstrip("/").removesuffix("/v1") + "/admin/explain"
    asking = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked above
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(asking, timeout=CONNECT_SECONDS) as reply:
            plan: dict[str, Any] = json.load(reply)
    except urllib.error.HTTPError as error:
        raise InputError(f"the gateway at {gateway} refuses: {_said(error.read())}") from error
    except (OSError, ValueError):
        return None
    return plan if "attempts" in plan else None


def _said(body: bytes) -> str:
    import json

    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "without a word that can be read"


def _from_configuration(settings: Settings, body: bytes, task: str | None, label: str | None) -> dict[str, Any]:
    from datetime import UTC, datetime

    from breakeven.catalog.prices import open_book
    from breakeven.economics.rates import price_call
    from breakeven.economics.tokens import TokenCounts
    from breakeven.routing.outline import outline
    from breakeven.routing.plan import plan

    facts = _facts(settings, body, task, label)
    book = open_book(settings.prices, console.home_of(settings))
    output = min(facts.max_output_tokens or TYPICAL_OUTPUT_TOKENS, TYPICAL_OUTPUT_TOKENS)
    counts = TokenCounts(uncached_input=facts.prompt_tokens_estimate, output=output)

    def price(provider: str, model: str) -> Decimal | None:
        row = book.find(provider, model, at=datetime.now(UTC))
        cost = price_call(counts, row.rates) if row is not None else None
        return None if cost is None else cost.total

    return plan(facts, settings, outline(settings, price)).document()


def _facts(settings: Settings, body: bytes, task: str | None, label: str | None) -> CallFacts:
    from typing import cast

    from breakeven.privacy.clearance import Label
    from breakeven.routing.facts import CallFacts
    from breakeven.routing.policy import strictest
    from breakeven.wire.body import metadata_label, parse_object, read_model
    from breakeven.wire.dialects import parse_request

    document = parse_object(body)
    declared = label or metadata_label(document, "data")
    if declared is not None and declared not in LABELS:
        raise InputError(f"metadata.data = {declared!r}: expected {' or '.join(LABELS)}")
    of_data, source = strictest({"the call": cast("Label | None", declared)}, settings.policy.default_data)
    facts = CallFacts(
        model=read_model(document),
        label=of_data,
        label_source=source,
        task=task or metadata_label(document, "task"),
        prompt_bytes=len(body),
        prompt_tokens_estimate=len(body) // CHARACTERS_PER_TOKEN,
    )
    if "messages" not in document:
        return facts
    from msgspec.structs import replace

    request = parse_request("anthropic" if "system" in document else "openai", body)
    return replace(
        facts,
        prompt_bytes=request.prompt_bytes(),
        prompt_tokens_estimate=request.text_characters() // CHARACTERS_PER_TOKEN,
        max_output_tokens=request.max_output_tokens,
        needs=request.needs,
        stream=request.stream,
    )


def _print(plan: dict[str, Any], *, live: bool) -> None:
    from rich.markup import escape

    def say(line: str) -> None:
        console.out.print(line, highlight=False, soft_wrap=True)

    task = f"task [bold]{escape(plan['task'])}[/], " if plan["task"] else ""
    say(f"{task}data [bold]{plan['label']}[/] (says {escape(plan['label_source'])})")
    for place, one in enumerate(plan["attempts"], 1):
        where = "on this machine" if one["locality"] == "local" else "leaves this machine"
        say(f"  {place}. [bold]{escape(one['alias'])}[/] → {escape(one['provider'])}/{escape(one['model'])}, {where}")
        say(f"     {escape(one['reason'])}")
    for one in plan["set_aside"]:
        say(f"  – [bold]{escape(one['alias'])}[/] is not tried ({one['rule']}): {escape(one['reason'])}")
    if not plan["attempts"]:
        say("[bold red]nobody can serve this request[/]")
    if plan["deadline_seconds"] is not None:
        say(f"within {plan['deadline_seconds']:g} s")
    gates = [name for name, value in plan["gates"].items() if value]
    say(f"gates: {', '.join(gates) or 'none'}")
    if not live:
        say("[dim]from the configuration alone: health, queues and budgets of a running gateway are not considered[/]")
