"""``breakeven agents``: run a fleet, and live with it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from breakeven.cli import console
from breakeven.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from breakeven.agents.app import App
    from breakeven.config import Settings

Config = typer.Option(None, help="Configuration file; ./breakeven.toml is found by itself.")
Folder = typer.Option(None, "--folder", "-f", help="Folder of the agents; by default agents.folder.")
Json = typer.Option(False, "--json", help="Print as JSON.")
Agent = typer.Argument(help="Name of the agent.")
AnyAgent = typer.Argument(None, help="Name of the agent; by default all.")
Ids = typer.Argument(None, help="Numbers of the items.")
AllOf = typer.Option(None, "--all-of", metavar="AGENT", help="All dead letters of this agent.")

EXAMPLES = {
    "init": "Example: [bold]breakeven agents init agents[/]",
    "run": "Example: [bold]breakeven agents run --until-idle[/], with [bold]breakeven serve[/] in another shell.",
    "list": "Example: [bold]breakeven agents list[/]",
    "status": "Example: [bold]breakeven agents status --json[/]",
    "report": "Example: [bold]breakeven agents report --hours 12[/]",
    "logs": "Example: [bold]breakeven agents logs triage[/], or [bold]breakeven agents logs --item 17[/]",
    "enqueue": 'Example: [bold]breakeven agents enqueue triage \'{"text": "Printer on fire"}\' --key ticket-17[/]',
    "now": "Example: [bold]breakeven agents now triage[/]",
    "pause": "Example: [bold]breakeven agents pause triage[/]",
    "resume": "Example: [bold]breakeven agents resume triage[/]",
    "drain": "Example: [bold]breakeven agents drain[/]",
    "replay": "Example: [bold]breakeven agents replay 17 --from 3[/]",
    "budgets": "Example: [bold]breakeven agents budgets >> breakeven.toml[/]",
    "dead list": "Example: [bold]breakeven agents dead list[/]",
    "dead retry": "Example: [bold]breakeven agents dead retry 17 18[/]",
    "dead drop": "Example: [bold]breakeven agents dead drop --all-of triage[/]",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    agents = typer.Typer(help="Run agents on a schedule: nothing lost, nothing done twice.", no_args_is_help=True)
    for command in (init, run, status, report, logs, enqueue, now, pause, resume, drain, replay, budgets):
        agents.command(epilog=EXAMPLES[command.__name__])(command)
    agents.command("list", epilog=EXAMPLES["list"])(list_agents)
    dead = typer.Typer(help="Items that an agent gave up on.", no_args_is_help=True)
    dead.command("list", epilog=EXAMPLES["dead list"])(dead_list)
    dead.command("retry", epilog=EXAMPLES["dead retry"])(dead_retry)
    dead.command("drop", epilog=EXAMPLES["dead drop"])(dead_drop)
    agents.add_typer(dead, name="dead")
    app.add_typer(agents, name="agents")


def init(folder: Path = typer.Argument(Path("agents"), help="Where to write."), as_json: bool = Json) -> None:
    """Write a folder with one agent to start from."""
    with console.reporting_errors():
        from importlib import resources

        target = folder / "triage.toml"
        if target.exists():
            raise InputError(f"{target} exists", remedy="Name another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        target.write_bytes(resources.files("breakeven.agents").joinpath("triage.toml").read_bytes())
        _say(
            as_json,
            {"written": str(target)},
            f"{target} written; breakeven agents enqueue triage '{{\"text\": …}}' gives it work.",
        )


def run(
    folder: Path | None = Folder,
    only: list[str] = typer.Option([], help="Only this agent; may be repeated."),
    until_idle: bool = typer.Option(False, help="Stop as soon as there is nothing to do."),
    wake: bool = typer.Option(False, help="Wake all agents at once, whatever their schedule."),
    dry_run: bool = typer.Option(False, help="Check everything and show what would happen; run nothing."),
    config: Path | None = Config,
    as_json: bool = Json,
) -> None:
    """Run the fleet until stopped; SIGTERM lets items in hand finish."""
    with console.reporting_errors():
        settings, fleet = _fleet(config, folder, only)
        _check_budgets(settings, fleet)
        if dry_run:
            from breakeven.cli import agents_view

            agents_view.show_plan(fleet, settings, as_json=as_json)
            return
        finished = _run(settings, fleet, until_idle=until_idle, wake=wake)
        if as_json:
            console.print_json({"finished": finished})
        if not finished:
            console.err.print("Not all items in hand were finished; the next run takes them up.")
            _end_with_threads()


def list_agents(folder: Path | None = Folder, config: Path | None = Config, as_json: bool = Json) -> None:
    """Show the agents of the folder, and when each wakes next."""
    with console.reporting_errors():
        from breakeven.cli import agents_view

        settings, fleet = _fleet(config, folder, [])
        agents_view.show_plan(fleet, settings, as_json=as_json)


def status(config: Path | None = Config, as_json: bool = Json) -> None:
    """Show workers, agents and items as they stand."""
    with console.reporting_errors(), _opened(config) as (settings, engine):
        from breakeven.cli import agents_view

        agents_view.show_status(engine, settings, as_json=as_json)


def report(
    hours: float = typer.Option(24.0, min=0.01, help="How far back."),
    folder: Path | None = Folder,
    config: Path | None = Config,
    as_json: bool = Json,
) -> None:
    """The morning report: runs, lag, items, and what it cost here and in the cloud."""
    with console.reporting_errors(), _opened(config) as (_, engine):
        from breakeven.cli import agents_view

        settings, fleet = _fleet(config, folder, [])
        agents_view.show_report(engine, settings, fleet, time.time() - hours * 3600, as_json=as_json)


def logs(
    agent: str | None = AnyAgent,
    item: int | None = typer.Option(None, help="Show the steps of this item."),
    most: int = typer.Option(20, min=1, help="How many items."),
    config: Path | None = Config,
    as_json: bool = Json,
) -> None:
    """Show the items that moved last, or the steps of one."""
    with console.reporting_errors(), _opened(config) as (_, engine):
        from breakeven.cli import agents_view

        if item is not None:
            agents_view.show_steps(engine, item, as_json=as_json)
        else:
            agents_view.show_items(engine, agent, most, as_json=as_json)


def enqueue(
    agent: str = Agent,
    payload: str | None = typer.Argument(None, help="The item as JSON; or `-` for one JSON document a line on input."),
    key: str | None = typer.Option(None, help="Name of the item: putting it in again under it changes nothing."),
    priority: int = typer.Option(0, min=-(2**31), max=2**31 - 1, help="Higher goes first."),
    folder: Path | None = Folder,
    config: Path | None = Config,
    as_json: bool = Json,
) -> None:
    """Give an agent something to work on."""
    with console.reporting_errors():
        from breakeven.agents.queue import New
        from breakeven.agents.queue import enqueue as put

        _, fleet = _fleet(config, folder, [agent])
        if fleet.members[agent].agent.source is None:
            raise InputError(f"agent {agent!r} takes no items", remedy='Give it [source] with kind = "queue".')
        lines = sys.stdin if payload in (None, "-") else [payload]
        new = [New(_json(line), key, priority) for line in lines if line and line.strip()]
        if key is not None and len(new) > 1:
            raise InputError("--key names one item", remedy="Leave it out for several.")
        with _opened(config) as (_, engine), engine.begin() as connection:
            added = put(connection, agent, new)
        if as_json:
            console.print_json({"added": added, "known": len(new) - added})
        else:
            known = f", {len(new) - added} known already" if added < len(new) else ""
            console.out.print(f"{added} added{known}")


def now(agent: str = Agent, folder: Path | None = Folder, config: Path | None = Config, as_json: bool = Json) -> None:
    """Ask for a wake-up of an agent now; a running worker starts it."""
    with console.reporting_errors():
        from breakeven.agents.runs import ask_for_run

        _fleet(config, folder, [agent])
        with _opened(config) as (_, engine), engine.begin() as connection:
            asked = ask_for_run(connection, agent)
        _say(as_json, {"run": asked}, f"asked for {asked}")


def pause(agent: str = Agent, config: Path | None = Config, as_json: bool = Json) -> None:
    """Let an agent sleep: items at work are finished, none are begun."""
    _set_paused(config, agent, paused=True, as_json=as_json)


def resume(agent: str = Agent, config: Path | None = Config, as_json: bool = Json) -> None:
    """Let a paused agent wake again."""
    _set_paused(config, agent, paused=False, as_json=as_json)


def drain(config: Path | None = Config, as_json: bool = Json) -> None:
    """Ask all workers to finish what they have in hand and leave."""
    with console.reporting_errors(), _opened(config) as (_, engine), engine.begin() as connection:
        from breakeven.agents.workers import ask_to_leave

        asked = ask_to_leave(connection)
        _say(as_json, {"asked": asked}, f"{asked} workers asked to leave")


def replay(
    item: int = typer.Argument(help="Number of the item."),
    from_step: int | None = typer.Option(None, "--from", min=1, help="First step to take anew; by default all."),
    config: Path | None = Config,
    as_json: bool = Json,
) -> None:
    """Work on an item that ended once more; its writes from that step on happen again."""
    with console.reporting_errors(), _opened(config) as (_, engine), engine.begin() as connection:
        from breakeven.agents.dead import replay as again

        again(connection, item, from_step=from_step)
        _say(as_json, {"item": item, "from": from_step}, f"item {item} waits for its agent to wake")


def budgets(folder: Path | None = Folder, config: Path | None = Config, as_json: bool = Json) -> None:
    """Print the configuration by which the gateway holds the budgets that agents declare."""
    with console.reporting_errors():
        from breakeven.agents.app import budgets_missing

        settings, fleet = _fleet(config, folder, [])
        missing = budgets_missing(fleet.members, settings.budgets)
        if as_json:
            console.print_json({"missing": missing})
        else:
            sys.stdout.write(f"{missing}\n" if missing is not None else "")


def dead_list(agent: str | None = AnyAgent, config: Path | None = Config, as_json: bool = Json) -> None:
    """Show what agents gave up on, where and why."""
    with console.reporting_errors(), _opened(config) as (_, engine):
        from breakeven.cli import agents_view

        agents_view.show_dead(engine, agent, as_json=as_json)


def dead_retry(
    ids: list[int] | None = Ids,
    all_of: str | None = AllOf,
    from_start: bool = typer.Option(False, help="Take all steps anew, not only from the one that failed."),
    config: Path | None = Config,
    as_json: bool = Json,
) -> None:
    """Try dead letters again, from the step that failed."""
    with console.reporting_errors(), _opened(config) as (_, engine), engine.begin() as connection:
        from breakeven.agents.dead import retry

        number = retry(connection, _chosen(connection, ids, all_of), from_start=from_start)
        _say(as_json, {"retried": number}, f"{number} wait for their agents to wake")


def dead_drop(
    ids: list[int] | None = Ids, all_of: str | None = AllOf, config: Path | None = Config, as_json: bool = Json
) -> None:
    """Give dead letters up for good."""
    with console.reporting_errors(), _opened(config) as (_, engine), engine.begin() as connection:
        from breakeven.agents.dead import drop

        number = drop(connection, _chosen(connection, ids, all_of))
        _say(as_json, {"dropped": number}, f"{number} dropped")


def _fleet(config: Path | None, folder: Path | None, only: list[str]) -> tuple[Settings, App]:
    from breakeven.agents.app import App, load_folder

    settings = console.load_settings(config)
    found = load_folder(folder or settings.agents.folder)
    for name in only:
        if name not in found.members:
            raise InputError(f"there is no agent {name!r}", remedy=f"There are {', '.join(sorted(found.members))}.")
    return settings, App({name: m for name, m in found.members.items() if name in only}) if only else found


def _check_budgets(settings: Settings, fleet: App) -> None:
    from breakeven.agents.app import budgets_missing

    missing = budgets_missing(fleet.members, settings.budgets)
    if missing is not None and settings.agents.base_url is None:
        named = ", ".join(line[9:-1] for line in missing.splitlines() if line.startswith("["))
        raise InputError(
            f"the gateway's configuration does not hold the budgets of {named}",
            remedy="Add what `breakeven agents budgets` prints to breakeven.toml.",
        )


def _run(settings: Settings, fleet: App, *, until_idle: bool, wake: bool) -> bool:
    import logging
    import os
    import signal
    from contextlib import nullcontext

    from breakeven.agents import database, runs
    from breakeven.agents.llm import Client
    from breakeven.agents.telemetry import Spans
    from breakeven.agents.worker import FleetWorker
    from breakeven.agents.workers import sole_worker
    from breakeven.config.secrets import read_secret
    from breakeven.telemetry import to_collector

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    agents, home = settings.agents, console.home_of(settings)
    engine = database.connect(agents.url, home)
    embedded = engine.dialect.name == "sqlite"
    base_url = agents.base_url or f"http://{settings.gateway.host}:{settings.gateway.port}/v1"
    key = read_secret("agents.key", agents.key, os.environ) if agents.key is not None else None
    client = Client(base_url, key)
    spans = Spans(to_collector("agents.traces"), engine, base_url) if agents.traces else None
    try:
        with sole_worker(Path(str(engine.url.database)).absolute().parent) if embedded else nullcontext():
            database.migrate(engine)
            if wake:
                with engine.begin() as connection:
                    for name in fleet.members:
                        runs.ask_for_run(connection, name)
            worker = FleetWorker(
                fleet.members,
                engine,
                client,
                sole=embedded,
                lease_seconds=agents.lease_seconds,
                retention_days=agents.retention_days,
                spans=spans,
            )
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: worker.stop())
            console.err.print(f"{len(fleet.members)} agents ask {base_url}   (stop with Ctrl-C)", highlight=False)
            return worker.run(until_idle=until_idle, drain_seconds=agents.drain_seconds)
    finally:
        if spans is not None:
            spans.close()
        client.close()
        engine.dispose()


def _end_with_threads() -> NoReturn:
    """End the process though items are at work: nobody can end their threads, and what they do is recorded no more."""
    import os

    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@contextmanager
def _opened(config: Path | None) -> Iterator[tuple[Settings, Engine]]:
    from breakeven.agents import database

    settings = console.load_settings(config)
    with database.opened(settings.agents.url, console.home_of(settings)) as engine:
        yield settings, engine


def _set_paused(config: Path | None, agent: str, *, paused: bool, as_json: bool) -> None:
    with console.reporting_errors(), _opened(config) as (_, engine), engine.begin() as connection:
        from breakeven.agents import runs

        if agent not in runs.remembered(connection):
            raise InputError(f"agent {agent!r} has never run here", remedy="`breakeven agents list` names them.")
        runs.update_state(connection, agent, paused=paused)
        _say(as_json, {"agent": agent, "paused": paused}, f"{agent} {'sleeps' if paused else 'wakes again'}")


def _chosen(connection: Any, ids: list[int] | None, all_of: str | None) -> list[int]:
    from breakeven.agents.dead import dead_letters

    if (ids or []) and all_of is not None:
        raise InputError("numbers and --all-of exclude each other")
    if all_of is not None:
        return [letter.id for letter in dead_letters(connection, all_of)]
    if not ids:
        raise InputError("no item named", remedy="Give numbers, or --all-of AGENT.")
    return ids


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{text[:60]!r} is no JSON: {error}", remedy='For text: \'{"text": "…"}\'.') from error


def _say(as_json: bool, document: dict[str, Any], sentence: str) -> None:
    if as_json:
        console.print_json(document)
    else:
        console.out.print(sentence, highlight=False)
