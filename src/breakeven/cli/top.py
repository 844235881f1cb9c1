"""``breakeven top``: the box at work, as it happens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from breakeven.box.cache_size import OUTGROWN, PROMPT_CACHE
from breakeven.cli import console

if TYPE_CHECKING:
    from rich.console import RenderableType

EPILOG = "Example: [bold]breakeven top[/] while agents run; [bold]breakeven top --json[/] for one look."
WINDOW_SECONDS = 30.0
"""Rates are of so much time: a call counts when it ends, so shorter ones would jump."""
TOKEN_CLASSES = ("uncached_input", "cache_read", "cache_write_5m", "cache_write_1h", "output")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=EPILOG)
    def top(
        gateway: str | None = typer.Option(None, metavar="URL", help="Running gateway; by default the configured one."),
        key: str | None = typer.Option(None, metavar="env:VARIABLE", help="Where the key for the gateway is kept."),
        every: float = typer.Option(1.0, min=0.2, help="Seconds between two looks."),
        config: Path | None = typer.Option(None, help="Configuration file."),
        as_json: bool = typer.Option(False, "--json", help="Look once and print what the gateway says as JSON."),
    ) -> None:
        """Watch slots, queue, prefixes, tokens a second, watts, and dollars an hour against the cloud's."""
        import time
        from collections import deque

        from rich.live import Live

        with console.reporting_errors():
            settings = console.load_settings(config)
            url = (gateway or f"http://127.0.0.1:{settings.gateway.port}").rstrip("/").removesuffix("/v1")
            ask = _asker(url, key)
            if as_json:
                console.print_json(ask())
                return
            looks = deque([Look.of(ask(), time.monotonic())])
            with Live(console=console.out, screen=console.out.is_terminal, auto_refresh=False) as live:
                while True:
                    time.sleep(every)
                    now = Look.of(ask(), time.monotonic())
                    live.update(page(url, now, looks[0]), refresh=True)
                    looks.append(now)
                    if now.at - looks[0].at > WINDOW_SECONDS:
                        looks.popleft()


@dataclass(frozen=True, slots=True)
class Look:
    """What a gateway said of itself, and when by our clock."""

    said: dict[str, Any]
    at: float
    tokens_in: int
    tokens_out: int
    usd: float
    counterfactual_usd: float
    watt_hours: float

    @classmethod
    def of(cls, said: dict[str, Any], at: float) -> Look:
        """Add up what was counted since the gateway started."""
        totals = said["totals"]
        tokens = {name: sum(one["tokens"][name] for one in totals) for name in TOKEN_CLASSES}
        return cls(
            said,
            at,
            sum(tokens.values()) - tokens["output"],
            tokens["output"],
            sum(one["usd"] for one in totals),
            sum(one["counterfactual_usd"] for one in totals),
            sum(one["watt_hours"] for one in totals),
        )


def page(url: str, now: Look, before: Look) -> RenderableType:
    """The screen: rates since an earlier look, then each box, then the agents whose prompts do not stay alike."""
    from rich.console import Group
    from rich.markup import escape

    hours = max(1e-9, now.at - before.at) / 3600
    seconds = hours * 3600
    said = now.said
    state = "[green]ready[/]" if said["ready"] else f"[red]not ready[/] {escape(str(said['checks']))}"
    rates = (
        f"{(now.tokens_in - before.tokens_in) / seconds:,.0f} tok/s in, "
        f"{(now.tokens_out - before.tokens_out) / seconds:,.0f} out   "
        f"{(now.watt_hours - before.watt_hours) / hours:,.1f} W beyond idle   "
        f"[bold]${(now.usd - before.usd) / hours:,.4f}[/] an hour, "
        f"the cloud ${(now.counterfactual_usd - before.counterfactual_usd) / hours:,.4f}"
    )
    boxes = {"this machine": said["box"], **said.get("pools", {})}
    tables = [_box(name, box) for name, box in boxes.items() if box.get("engines")]
    broken = [line for box in boxes.values() for line in _broken(box)]
    return Group(f"[bold]breakeven[/] {escape(url)}  {state}", rates, *tables, *_slower(said), *_cache(said), *broken)


def _box(name: str, box: dict[str, Any]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    waiting = box["waiting"]
    longest = f", the first for {box['queue_seconds'][0]:.1f} s" if box["queue_seconds"] else ""
    table = Table(title=f"{escape(name)}: {len(waiting)} waiting{longest}", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("engine", "slot", "state", "prompt of", "tokens held", "kept for chain"):
        table.add_column(heading)
    for engine in box["engines"]:
        speeds = f"{_speed(engine['prefill_tokens_per_second'])} in, {_speed(engine['decode_tokens_per_second'])} out"
        for place, slot in enumerate(engine["slots"]):
            table.add_row(
                f"{escape(engine['name'])}  {speeds}" if place == 0 else "",
                str(slot["number"]),
                "[green]busy[/]" if slot["busy"] else "idle",
                escape(slot["agent"] or "–"),
                f"{slot['held_tokens']:,}",
                escape(slot["kept_for_chain"] or "–"),
            )
    return table


def _slower(said: dict[str, Any]) -> list[str]:
    from rich.markup import escape

    lines = []
    for one in said.get("slower", []):
        fewer = "" if one["at_once"] is None else f"; {one['at_once']} at once"
        words = f"{one['model']} of {one['provider']}, {one['cause']}: {one['says']}{fewer}"
        lines.append(f"[yellow]![/] {escape(words)}")
    return lines


def _cache(said: dict[str, Any]) -> list[str]:
    from rich.markup import escape

    says = str(said["checks"].get(PROMPT_CACHE, ""))
    return [f"[yellow]![/] {PROMPT_CACHE} {escape(says)}"] if says.startswith(OUTGROWN) else []


def _broken(box: dict[str, Any]) -> list[str]:
    from rich.markup import escape

    return [
        f"[yellow]![/] {escape(name)}: its prompt differs from run to run"
        f" about token {health['last_break']['at_token']:,}, so nothing after it is reused"
        for name, health in box.get("agents", {}).items()
        if health["broken"] and health["last_break"] is not None
    ]


def _speed(tokens_per_second: float | None) -> str:
    return "?" if tokens_per_second is None else f"{tokens_per_second:,.0f}"


def _asker(url: str, key: str | None) -> Any:
    """A function that gets the admin page."""
    import json
    import urllib.error
    import urllib.request

    from breakeven.config.secrets import read_secret
    from breakeven.errors import InputError

    if not url.startswith(("http://", "https://")):
        raise InputError(f"--gateway {url!r}: expected http://… or https://…")
    headers = {} if key is None else {"authorization": f"Bearer {read_secret('--key', key)}"}
    request = urllib.request.Request(f"{url}/admin", headers=headers)  # noqa: S310 - checked above
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask() -> dict[str, Any]:
        try:
            with direct.open(request, timeout=5) as reply:
                said: dict[str, Any] = json.load(reply)
        except urllib.error.HTTPError as error:
            raise InputError(
                f"the gateway at {url} refuses: HTTP {error.code}", remedy="Name a key with --key."
            ) from error
        except (OSError, ValueError) as error:
            raise InputError(f"no gateway answers at {url}", remedy="Start it with: breakeven serve") from error
        return said

    return ask
