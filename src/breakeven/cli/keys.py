"""``breakeven keys``: the virtual keys that open the gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from breakeven.cli import console
from breakeven.errors import InputError

if TYPE_CHECKING:
    from breakeven.accounts.key_table import KeyTable, VirtualKey

CREATE_EXAMPLE = (
    "Example: [bold]breakeven keys create night-agents --label agent=triage --data local_only --budget '$5/day'[/]"
)
LIST_EXAMPLE = "Example: [bold]breakeven keys list --json[/]"
REVOKE_EXAMPLE = "Example: [bold]breakeven keys revoke night-agents[/]"
ROTATE_EXAMPLE = "Example: [bold]breakeven keys rotate night-agents[/]"
LABELS = ("agent", "task")

Config = typer.Option(None, help="Configuration file; ./breakeven.toml is found by itself.")
Name = typer.Argument(help="What the key is called in the ledger.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="Make, list, rotate and revoke the keys that callers present.", no_args_is_help=True)
    keys.command(epilog=CREATE_EXAMPLE)(create)
    keys.command("list", epilog=LIST_EXAMPLE)(list_keys)
    keys.command(epilog=REVOKE_EXAMPLE)(revoke)
    keys.command(epilog=ROTATE_EXAMPLE)(rotate)
    app.add_typer(keys, name="keys")


def create(
    name: str = Name,
    label: list[str] = typer.Option([], metavar="agent=NAME|task=NAME", help="Book all its calls under this label."),
    data: str | None = typer.Option(None, metavar="local_only|shareable", help="Whether its data may leave."),
    rpm: int | None = typer.Option(None, min=1, help="Most requests a minute, in each gateway process."),
    tpm: int | None = typer.Option(None, min=1, help="Most tokens a minute, in each gateway process."),
    budget: str | None = typer.Option(None, metavar="'$5/day'", help="A budget of its own, per day, month or total."),
    expires: str | None = typer.Option(None, metavar="90d|YYYY-MM-DD", help="When it stops to work (UTC)."),
    config: Path | None = Config,
    as_json: bool = typer.Option(False, "--json", help="Print the key as JSON."),
) -> None:
    """Make a key and show its secret, this once."""
    with console.reporting_errors():
        from breakeven.accounts.key_table import VirtualKey

        labels = _labels(label)
        key = VirtualKey(
            name,
            expires_at=_moment(expires, datetime.now(UTC)) if expires is not None else None,
            agent=labels.get("agent"),
            task=labels.get("task"),
            data=_data(data),
            rpm=rpm,
            tpm=tpm,
            budget=budget,
        )
        with _table(config) as (table, configured):
            if name in configured:
                raise InputError(f"key {name!r}: the configuration has one of this name", remedy="Take another name.")
            secret = table.create(key)
        _print_secret(name, secret, as_json=as_json)


def list_keys(
    config: Path | None = Config,
    as_json: bool = typer.Option(False, "--json", help="Print as JSON."),
) -> None:
    """Show all keys, those of the configuration included; secrets are kept nowhere."""
    with console.reporting_errors():
        with _table(config) as (table, configured):
            records = [_record(key) for key in table.list()]
        records += [{"name": name, "state": "configured", **key} for name, key in sorted(configured.items())]
        if as_json:
            console.print_json(records)
        else:
            _print_keys(records)


def revoke(
    name: str = Name,
    config: Path | None = Config,
    as_json: bool = typer.Option(False, "--json", help="Print as JSON."),
) -> None:
    """Close the gateway to a key for good; running gateways notice within about a second."""
    with console.reporting_errors():
        with _table(config) as (table, _):
            table.revoke(name)
        if as_json:
            console.print_json({"name": name, "state": "revoked"})
        else:
            console.out.print(f"{name} is revoked.", highlight=False, markup=False)


def rotate(
    name: str = Name,
    config: Path | None = Config,
    as_json: bool = typer.Option(False, "--json", help="Print the key as JSON."),
) -> None:
    """Give a key a new secret; the old one stops to work within about a second."""
    with console.reporting_errors():
        with _table(config) as (table, _):
            secret = table.rotate(name)
        _print_secret(name, secret, as_json=as_json)


@contextmanager
def _table(config: Path | None) -> Iterator[tuple[KeyTable, dict[str, dict[str, Any]]]]:
    """The keys of the database, and what the configuration says of its own."""
    from breakeven.accounts.key_table import KeyTable
    from breakeven.ledger import database

    settings = console.load_settings(config)
    home = console.home_of(settings)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = database.connect(settings.ledger, home)
    try:
        table = KeyTable(engine)
        table.migrate()
        yield table, {name: key.model_dump(exclude={"secret"}) for name, key in settings.keys.items()}
    finally:
        engine.dispose()


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for label in given:
        name, _, value = label.partition("=")
        if name not in LABELS or not value:
            raise InputError(f"--label {label!r}: expected agent=NAME or task=NAME")
        labels[name] = value
    return labels


def _data(value: str | None) -> Any:
    if value not in (None, "local_only", "shareable"):
        raise InputError(f"--data {value!r}: expected local_only or shareable")
    return value


def _moment(text: str, now: datetime) -> float:
    if days := re.fullmatch(r"(\d{1,5})d", text):
        return (now + timedelta(days=int(days[1]))).timestamp()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"--expires {text!r}: expected days like 90d, or a date, YYYY-MM-DD") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if moment <= now:
        raise InputError(f"--expires {text!r}: that has passed")
    return moment.timestamp()


def _record(key: VirtualKey) -> dict[str, Any]:
    from dataclasses import asdict

    record = asdict(key)
    for name in ("created_at", "expires_at", "revoked_at"):
        if record[name] is not None:
            record[name] = datetime.fromtimestamp(record[name], UTC).isoformat(timespec="seconds")
    return {"name": record.pop("name"), "state": key.state(datetime.now(UTC).timestamp()), **record}


def _print_secret(name: str, secret: str, *, as_json: bool) -> None:
    if as_json:
        console.print_json({"name": name, "secret": secret})
        return
    console.out.print(secret, highlight=False, markup=False, soft_wrap=True)
    console.err.print(
        f"That is the key of {name}. It is shown this once and kept nowhere.", highlight=False, markup=False
    )


def _print_keys(records: list[dict[str, Any]]) -> None:
    from rich.table import Table

    if not records:
        console.out.print("No keys: everyone on this machine may call.", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "state", "labels", "data", "limits", "budget", "expires"):
        table.add_column(heading, no_wrap=heading == "name")
    for record in records:
        labels = " ".join(f"{label}={record[label]}" for label in LABELS if record[label])
        limits = " ".join(f"{record[unit]:,} {unit}" for unit in ("rpm", "tpm") if record[unit])
        expires = str(record.get("expires_at") or "")[:10]
        cells = (record["name"], record["state"], labels, record["data"], limits, record["budget"], expires)
        table.add_row(*(str(cell or "") for cell in cells))
    console.out.print(table)
