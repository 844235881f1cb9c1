"""``breakeven plan``: does a box of one's own pay, from which volume to which, and can it serve the load at all."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from breakeven.cli.console import home_of, load_settings, out, print_json, reporting_errors
from breakeven.errors import InputError, ScenarioError

if TYPE_CHECKING:
    from breakeven.planning.sources import Document

QUESTION, COUNTED, COSTS, OUTPUT = "The question", "Usage that was counted", "Costs", "Output"
WORKLOAD_FLAGS = ("requests_per_day", "tokens_monthly", "input_tokens", "output_tokens")
"""Those that say how much there is: nothing beside what was counted."""

FLAG_KEYS = {
    "machine": "box.machine",
    "boxes": "box.count",
    "price_usd": "box.purchase_usd",
    "usd_per_kwh": "box.usd_per_kwh",
    "tariff": "box.tariff",
    "model": "serving.model",
    "requests_per_day": "workload.requests_per_day",
    "tokens_monthly": "workload.tokens_monthly",
    "input_tokens": "workload.input_tokens",
    "output_tokens": "workload.output_tokens",
    "cloud": "cloud.frontier",
    "hosted": "cloud.hosted",
    "small": "cloud.small",
    "usd_per_million": "cloud.usd_per_million",
}
"""Flag → the key of the scenario that it sets."""
SIMPLE_FLAGS = ("price_usd", "usd_per_kwh", "usd_per_million")
"""Those that ``--simple`` uses."""


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""

    @app.command()
    def plan(
        scenario_file: Path | None = typer.Argument(None, metavar="[SCENARIO.toml]", help="A scenario file."),
        preset: str | None = typer.Option(
            None, help="A workload that comes along: seed-agents, …", rich_help_panel=QUESTION
        ),
        machine: str | None = typer.Option(None, help="A machine (`breakeven machines`).", rich_help_panel=QUESTION),
        boxes: int | None = typer.Option(None, help="Boxes you have or would buy.", rich_help_panel=QUESTION),
        model: str | None = typer.Option(None, help="A model shape (`breakeven machines`).", rich_help_panel=QUESTION),
        requests_per_day: float | None = typer.Option(None, help="Requests a day.", rich_help_panel=QUESTION),
        tokens_monthly: int | None = typer.Option(None, help="Tokens a month instead.", rich_help_panel=QUESTION),
        input_tokens: int | None = typer.Option(None, help="Prompt of a request.", rich_help_panel=QUESTION),
        output_tokens: int | None = typer.Option(None, help="Output of a request.", rich_help_panel=QUESTION),
        trace: Path | None = typer.Option(
            None, help="Replay a trace: Azure CSV, Mooncake JSONL or own JSONL.", rich_help_panel=QUESTION
        ),
        from_ledger: bool = typer.Option(
            False, "--from-ledger", help="Plan on the calls of the ledger, as they came.", rich_help_panel=COUNTED
        ),
        from_files: list[Path] = typer.Option(
            [],
            "--from",
            help="Plan on a log or report that import takes; not kept. Repeatable.",
            rich_help_panel=COUNTED,
        ),
        month: str | None = typer.Option(None, metavar="YYYY-MM", help="Only this month.", rich_help_panel=COUNTED),
        since: str | None = typer.Option(
            None, metavar="YYYY-MM-DD", help="Only from this day on.", rich_help_panel=COUNTED
        ),
        until: str | None = typer.Option(
            None, metavar="YYYY-MM-DD", help="Only up to this day.", rich_help_panel=COUNTED
        ),
        origin: str | None = typer.Option(
            None, help="Calls of this origin: gateway, an import such as import:codex, or all.", rich_help_panel=COUNTED
        ),
        price_usd: str | None = typer.Option(None, help="Price of a box; 0 if owned.", rich_help_panel=COSTS),
        usd_per_kwh: str | None = typer.Option(None, help="Electricity.", rich_help_panel=COSTS),
        tariff: str | None = typer.Option(None, help="Electricity by place: US-CA, DE, …", rich_help_panel=COSTS),
        cloud: str | None = typer.Option(None, help="Frontier model, provider/model.", rich_help_panel=COSTS),
        hosted: str | None = typer.Option(None, help="Host of the same model, or none.", rich_help_panel=COSTS),
        small: str | None = typer.Option(None, help="Small frontier model, or none.", rich_help_panel=COSTS),
        usd_per_million: str | None = typer.Option(None, help="A blended price as a what-if.", rich_help_panel=COSTS),
        simple: bool = typer.Option(
            False, "--simple", help="Only the plain formula: M × C = H + E.", rich_help_panel=COSTS
        ),
        watts: str | None = typer.Option(None, help="Constant draw, with --simple.", rich_help_panel=COSTS),
        electricity_usd_monthly: str | None = typer.Option(
            None, help="E itself, with --simple.", rich_help_panel=COSTS
        ),
        term_months: int | None = typer.Option(None, help="Months of write-off.", rich_help_panel=COSTS),
        assign: list[str] = typer.Option(
            [], "--set", metavar="KEY=VALUE", help="Any key, e.g. box.resale_usd=1500.", rich_help_panel=QUESTION
        ),
        plot: Path | None = typer.Option(None, help="Picture: FILE.svg, .png or .html.", rich_help_panel=OUTPUT),
        as_json: bool = typer.Option(False, "--json", help="Print JSON with exact amounts.", rich_help_panel=OUTPUT),
        config_file: Path | None = typer.Option(None, "--config", help="Configuration file.", rich_help_panel=OUTPUT),
    ) -> None:
        """Whether a box of your own pays, from which volume to which, and whether it can serve the load at all.

        Asks when run bare on a terminal. Example: breakeven plan --preset seed-agents --plot seed.svg
        """
        flags = {
            "machine": machine, "boxes": boxes, "price_usd": price_usd, "usd_per_kwh": usd_per_kwh, "tariff": tariff,
            "model": model, "requests_per_day": requests_per_day, "tokens_monthly": tokens_monthly,
            "input_tokens": input_tokens, "output_tokens": output_tokens, "cloud": cloud, "hosted": hosted,
            "small": small, "usd_per_million": usd_per_million,
        }  # fmt: skip
        with reporting_errors():
            if not from_ledger and not from_files:
                for name, value in (("--month", month), ("--since", since), ("--until", until), ("--origin", origin)):
                    if value is not None:
                        raise ScenarioError(name, value, "nothing without --from-ledger or --from")
            ways = {"--simple": simple, "--trace": trace, "--from-ledger": from_ledger, "--from": from_files}
            chosen = [name for name, value in ways.items() if value]
            if len(chosen) > 1:
                raise ScenarioError(chosen[1], "given", f"nothing beside {chosen[0]}")
            counted = next((name for name in chosen if name != "--simple"), None)
            if counted is not None:
                _refuse_beside(counted, flags, tuple(name for name in flags if name not in WORKLOAD_FLAGS))
            if simple:
                _refuse_beside(
                    "--simple", flags, ("price_usd", "usd_per_kwh", "usd_per_million"), scenario_file or preset
                )
                numbers = {
                    "price_usd": price_usd, "usd_per_kwh": usd_per_kwh, "usd_per_million": usd_per_million,
                    "watts": watts, "electricity_usd_monthly": electricity_usd_monthly,
                }  # fmt: skip
                from breakeven.cli.plan_simple import show_simple

                show_simple(numbers, term_months, as_json=as_json)
                return
            for name, value in (("--watts", watts), ("--electricity-usd-monthly", electricity_usd_monthly)):
                if value is not None:
                    raise ScenarioError(name, value, "nothing without --simple", remedy="Set box.load_watts instead.")
            if term_months is not None:
                assign = [*assign, f"box.term_months={term_months}"]
            bare = scenario_file is None and preset is None and counted is None and not assign
            if bare and all(value is None for value in flags.values()):
                if not on_terminal():
                    raise InputError(
                        "nothing to plan", remedy="Try breakeven plan --preset seed-agents, or give a scenario file."
                    )
                from breakeven.cli.plan_questions import ask

                document = ask()
            else:
                document = _document(scenario_file, preset, flags, assign)
            if from_ledger or from_files:
                from breakeven.cli import books, plan_volume

                when = books.period(month, since, until)
                if from_ledger:
                    plan_volume.show_ledger(when, origin, document, config_file, plot, as_json=as_json)
                else:
                    plan_volume.show_files(from_files, when, origin, document, config_file, plot, as_json=as_json)
            elif trace is not None:
                if plot is not None:
                    raise ScenarioError("--plot", str(plot), "nothing beside --trace, which has no curve to draw")
                show_trace(trace, document, config_file, as_json=as_json)
            else:
                show_plan(document, config_file, plot, as_json=as_json)


def _refuse_beside(
    option: str, flags: dict[str, str | int | float | None], used: tuple[str, ...], scenario: Path | str | None = None
) -> None:
    """Refuse what an option would silently ignore."""
    if scenario is not None:
        raise ScenarioError("scenario", str(scenario), f"nothing beside {option}")
    for name, value in flags.items():
        if value is not None and name not in used:
            raise ScenarioError(f"--{name.replace('_', '-')}", value, f"nothing beside {option}")


def on_terminal() -> bool:
    """Whether somebody is there to answer questions."""
    return sys.stdin.isatty()


def _document(
    scenario_file: Path | None, preset: str | None, flags: dict[str, str | int | float | None], assign: list[str]
) -> Document:
    from breakeven.planning import sources

    document: Document = {} if preset is None else sources.preset(preset)
    if scenario_file is not None:
        document = sources.laid_over(document, sources.read_file(scenario_file))
    if any(flags[name] is not None for name in ("requests_per_day", "tokens_monthly")):
        work = document.get("workload", {})
        document["workload"] = {
            key: value for key, value in work.items() if key not in {"agents", "requests_per_day", "tokens_monthly"}
        }
    for flag, key in FLAG_KEYS.items():
        if flags[flag] is not None:
            document = sources.laid_over(document, sources.at_path(key, flags[flag]))
    for assignment in assign:
        key, equals, value = assignment.partition("=")
        if not equals or "." not in key:
            raise ScenarioError("--set", assignment, "section.key=value, for instance box.resale_usd=1500")
        document = sources.laid_over(document, sources.at_path(key.strip(), _toml_value(value.strip())))
    return document


def _toml_value(text: str) -> object:
    """A value as TOML reads it, so that lists and booleans work; plain words stay text."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}", parse_float=str)["value"]
    except tomllib.TOMLDecodeError:
        return text


def show_plan(document: Document, config_file: Path | None, plot: Path | None, *, as_json: bool) -> None:
    """Answer a scenario on the terminal or as JSON, and draw it where a file is named."""
    from breakeven.catalog.measurements import Measurements
    from breakeven.catalog.prices import open_book
    from breakeven.planning.document import document as plan_document
    from breakeven.planning.plan import make_plan
    from breakeven.planning.scenario import parse
    from breakeven.planning.sources import configured

    settings = load_settings(config_file)
    scenario, measured = parse(configured(settings, document)), Measurements(home_of(settings)).all()
    made = make_plan(scenario, open_book(settings.prices, settings.home), datetime.now(UTC), measured)
    if plot is not None:
        from breakeven.planning.picture import draw

        draw(made, plot)
    if as_json:
        print_json(plan_document(made))
        return
    from breakeven.cli.plan_view import show

    show(made, out)
    if plot is not None:
        out.print(f"\nDrawn to [bold]{plot}[/].", highlight=False)


def show_trace(trace: Path, document: Document, config_file: Path | None, *, as_json: bool) -> None:
    """Replay a trace through machines and price it with models."""
    from breakeven.catalog.measurements import Measurements
    from breakeven.catalog.prices import open_book
    from breakeven.planning.scenario import parse
    from breakeven.planning.sources import configured
    from breakeven.planning.trace import read_trace
    from breakeven.planning.trace_document import trace_document
    from breakeven.planning.trace_plan import plan_trace

    settings = load_settings(config_file)
    scenario = parse(configured(settings, document))
    measured = Measurements(home_of(settings)).all()
    made = plan_trace(
        read_trace(trace), scenario, open_book(settings.prices, settings.home), datetime.now(UTC), measured
    )
    if as_json:
        print_json(trace_document(made))
        return
    from breakeven.cli.trace_view import show

    show(made, out)
