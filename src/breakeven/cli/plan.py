"""``breakeven plan``: does a box of one's own pay, from which volume to which, and can it serve the load at all."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from breakeven.cli.console import load_settings, out, print_json, reporting_errors
from breakeven.errors import InputError, ScenarioError

if TYPE_CHECKING:
    from breakeven.planning.scenario import Document

QUESTION, COSTS, OUTPUT = "The question", "Costs", "Output"

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
            if simple:
                numbers = {
                    "price_usd": price_usd, "usd_per_kwh": usd_per_kwh, "usd_per_million": usd_per_million,
                    "watts": watts, "electricity_usd_monthly": electricity_usd_monthly,
                }  # fmt: skip
                show_simple(numbers, term_months, as_json=as_json)
                return
            for name, value in (("--watts", watts), ("--electricity-usd-monthly", electricity_usd_monthly)):
                if value is not None:
                    raise ScenarioError(name, value, "nothing without --simple", remedy="Set box.load_watts instead.")
            if term_months is not None:
                assign = [*assign, f"box.term_months={term_months}"]
            bare = scenario_file is None and preset is None and trace is None and not assign
            if bare and all(value is None for value in flags.values()):
                if not on_terminal():
                    raise InputError(
                        "nothing to plan", remedy="Try breakeven plan --preset seed-agents, or give a scenario file."
                    )
                from breakeven.cli.plan_questions import ask

                document = ask()
            else:
                document = _document(scenario_file, preset, flags, assign)
            if trace is not None:
                show_trace(trace, document, config_file, as_json=as_json)
            else:
                show_plan(document, config_file, plot, as_json=as_json)


def on_terminal() -> bool:
    """Whether somebody is there to answer questions."""
    return sys.stdin.isatty()


def _document(
    scenario_file: Path | None, preset: str | None, flags: dict[str, str | int | float | None], assign: list[str]
) -> Document:
    from breakeven.planning import scenario

    document: Document = {} if preset is None else scenario.preset(preset)
    if scenario_file is not None:
        document = scenario.laid_over(document, scenario.read_file(scenario_file))
    if any(flags[name] is not None for name in ("requests_per_day", "tokens_monthly")):
        work = document.get("workload", {})
        document["workload"] = {
            key: value for key, value in work.items() if key not in {"agents", "requests_per_day", "tokens_monthly"}
        }
    for flag, key in FLAG_KEYS.items():
        if flags[flag] is not None:
            document = scenario.laid_over(document, scenario.at_path(key, flags[flag]))
    for assignment in assign:
        key, equals, value = assignment.partition("=")
        if not equals or "." not in key:
            raise ScenarioError("--set", assignment, "section.key=value, for instance box.resale_usd=1500")
        document = scenario.laid_over(document, scenario.at_path(key.strip(), _toml_value(value.strip())))
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
    from breakeven.catalog.prices import open_book
    from breakeven.planning.document import document as plan_document
    from breakeven.planning.plan import make_plan
    from breakeven.planning.scenario import parse

    book = open_book(load_settings(config_file).prices)
    made = make_plan(parse(document), book, datetime.now(UTC))
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
    from breakeven.catalog.prices import open_book
    from breakeven.planning.scenario import parse
    from breakeven.planning.trace import read_trace
    from breakeven.planning.trace_plan import plan_trace, trace_document

    book = open_book(load_settings(config_file).prices)
    made = plan_trace(read_trace(trace), parse(document), book, datetime.now(UTC))
    if as_json:
        print_json(trace_document(made))
        return
    from breakeven.cli.trace_view import show

    show(made, out)


def show_simple(numbers: dict[str, str | None], term_months: int | None, *, as_json: bool) -> None:
    """The plain formula with its parts."""
    from breakeven.economics.simple import electricity_usd_monthly, simple_breakeven
    from breakeven.units import tokens, usd

    given = {name: _number(name, value) for name, value in numbers.items() if value is not None}
    watts, price = given.get("watts", Decimal(200)), given.get("price_usd", Decimal(6000))
    tariff = given.get("usd_per_kwh", Decimal("0.17"))
    blended = given.get("usd_per_million", Decimal(3))
    electricity = given.get("electricity_usd_monthly", electricity_usd_monthly(watts=watts, usd_per_kwh=tariff))
    term = 36 if term_months is None else term_months
    found = simple_breakeven(
        purchase_usd=price, term_months=term, electricity_usd_monthly=electricity, usd_per_million=blended
    )
    if as_json:
        print_json(
            {
                "hardware_usd_monthly": found.hardware_usd_monthly,
                "electricity_usd_monthly": found.electricity_usd_monthly,
                "usd_per_million_tokens": found.usd_per_million,
                "breakeven_tokens_monthly": found.tokens_monthly,
            }
        )
        return
    drawn = "given" if "electricity_usd_monthly" in given else f"{watts} W × 730 h × ${tariff}/kWh"
    out.print(f"H  {usd(found.hardware_usd_monthly)} a month   ({usd(price)} / {term} months)", highlight=False)
    out.print(f"E  {usd(electricity)} a month   ({drawn})", highlight=False)
    out.print(f"C  {usd(blended)} per million tokens, blended", highlight=False)
    out.print(f"[bold]M = (H + E) / C = {tokens(int(found.tokens_monthly))} tokens a month[/]", highlight=False)
    out.print(
        "[dim]It leaves out whether the box can serve so much, prefill, reuse, idle power, resale, price decay and"
        " cheaper models: breakeven plan --preset seed-agents shows them.[/]",
        highlight=False,
    )


def _number(name: str, text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ScenarioError(f"--{name.replace('_', '-')}", text, "a number") from None
