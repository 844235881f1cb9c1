"""``breakeven simulate-cloud``: a provider on this machine, to rehearse rate limits and faults without paying."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from breakeven.cli import console
from breakeven.errors import InputError

if TYPE_CHECKING:
    import asyncio

    from rich.table import Table

    from breakeven.catalog.prices import PriceRow
    from breakeven.cloudsim.cloud import Cloud
    from breakeven.cloudsim.invoice import PriceList
    from breakeven.cloudsim.state import Terms
    from breakeven.economics.limits import AccountLimits

EPILOG = (
    "Example: [bold]breakeven simulate-cloud --provider anthropic --tier 1 --faults 529=0.02,cut:3=0.01[/], "
    "then point an SDK at the address it prints; any key will do."
)
PROVIDERS = ("openai", "anthropic")
REFRESHES_A_SECOND = 4


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(name="simulate-cloud", epilog=EPILOG)
    def simulate_cloud(
        port: int = typer.Option(4242, min=0, max=65535, help="TCP port on loopback; 0 picks a free one."),
        provider: str = typer.Option("openai", help="Whose tier: openai or anthropic. Both dialects are served."),
        tier: int | None = typer.Option(None, help="Limits of this tier of the catalogue; by default none."),
        rpm: int | None = typer.Option(None, min=1, help="Requests a minute and key, in place of the tier's."),
        tpm: int | None = typer.Option(None, min=1, help="Tokens a minute, prompt and output together."),
        itpm: int | None = typer.Option(None, min=1, help="Input tokens a minute."),
        otpm: int | None = typer.Option(None, min=1, help="Output tokens a minute."),
        first_token: float = typer.Option(0.5, min=0, help="Seconds to the first token."),
        tokens_per_second: float = typer.Option(60.0, min=0, help="Output speed of one request; 0 for at once."),
        faults: str | None = typer.Option(None, metavar="FAULT=CHANCE,…", help="What goes wrong, and how often."),
        seed: int = typer.Option(0, help="Seed of the faults' chances."),
        as_json: bool = typer.Option(False, "--json", help="Print the address, and at the end the counts, as JSON."),
    ) -> None:
        """Run a simulated cloud: both dialects, rate limits, faults, and an invoice of its own."""
        import asyncio
        import logging

        from breakeven.cloudsim.cloud import Cloud
        from breakeven.cloudsim.serving import Latency
        from breakeven.cloudsim.state import Terms

        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
        with console.reporting_errors():
            limits = _limits(provider, tier, rpm, tpm, itpm, otpm)
            terms = Terms(_prices(), limits, Latency(first_token, tokens_per_second))
            cloud = Cloud(terms)
            cloud.state.faults.order(probabilities=_chances(faults), seed=seed)
            asyncio.run(_serve(cloud, terms, port, as_json=as_json))


def _limits(
    provider: str, tier: int | None, rpm: int | None, tpm: int | None, itpm: int | None, otpm: int | None
) -> AccountLimits:
    from dataclasses import replace

    from breakeven.catalog.accounts import account_tier
    from breakeven.cloudsim.state import UNLIMITED

    if provider not in PROVIDERS:
        raise InputError(f"--provider {provider}: expected {' or '.join(PROVIDERS)}")
    limits = UNLIMITED if tier is None else account_tier(provider, tier)
    if (rpm, tpm, itpm, otpm) == (None, None, None, None):
        return limits
    return replace(
        limits,
        name=f"{limits.name}, changed",
        requests_per_minute=rpm or limits.requests_per_minute,
        tokens_per_minute=tpm or limits.tokens_per_minute,
        input_tokens_per_minute=itpm or limits.input_tokens_per_minute,
        output_tokens_per_minute=otpm or limits.output_tokens_per_minute,
        source="flags",
    )


def _chances(text: str | None) -> dict[str, float]:
    chances = {}
    for part in (text or "").split(","):
        if part.strip():
            fault, equals, chance = part.partition("=")
            try:
                chances[fault.strip()] = float(chance if equals else "")
            except ValueError:
                raise InputError(f"--faults {part!r}: expected FAULT=CHANCE, for instance 429:2=0.05") from None
    return chances


def _prices() -> dict[str, PriceList]:
    """Every model of both providers that the price book prices in full."""
    from datetime import UTC, datetime

    from breakeven.catalog.prices import open_book

    settings = console.load_settings(None)
    book = open_book(settings.prices, settings.home)
    rows = [row for row in book.rows(datetime.now(UTC)) if row.provider in PROVIDERS]
    return {row.model: prices for row in rows if (prices := _price_list(row)) is not None}


def _price_list(row: PriceRow) -> PriceList | None:
    from decimal import Decimal

    from breakeven.cloudsim.invoice import PriceList

    rates = row.rates
    if rates.input is None or rates.reasoning is not None:
        return None
    thresholds = sorted({start for rate in (rates.input, rates.output) if rate is not None for start, _ in rate.tiers})
    prices: PriceList | None = None
    for above in (*reversed(thresholds), None):
        prompt = 0 if above is None else above + 1
        uncached = rates.input.at(prompt)
        write = uncached if rates.cache_write_5m is None else rates.cache_write_5m.at(prompt)
        next_up = next((start for start in thresholds if above is None or start > above), None)
        prices = PriceList(
            input=uncached,
            output=Decimal(0) if rates.output is None else rates.output.at(prompt),
            cache_read=uncached if rates.cache_read is None else rates.cache_read.at(prompt),
            cache_write_5m=write,
            cache_write_1h=write if rates.cache_write_1h is None else rates.cache_write_1h.at(prompt),
            beyond=None if next_up is None or prices is None else (next_up, prices),
        )
    return prices


async def _serve(cloud: Cloud, terms: Terms, port: int, *, as_json: bool) -> None:
    import asyncio
    import json
    import signal
    import sys

    try:
        await cloud.server.listen("127.0.0.1", port)
    except OSError as error:
        raise InputError(
            f"--port {port}: cannot listen there: {error.strerror or error}", remedy="Choose another."
        ) from error
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    url = f"http://127.0.0.1:{cloud.server.port}"
    if as_json:
        bases = {"url": url, "openai": f"{url}/v1", "anthropic": url, "limits": terms.limits.name}
        sys.stdout.write(json.dumps(bases) + "\n")
        sys.stdout.flush()
    else:
        _announce(url, terms)
    try:
        await _until(stopped, cloud, live=not as_json and console.err.is_terminal)
    finally:
        await cloud.close()
    if as_json:
        counted = cloud.state.counters.document()
        del counted["recent"]
        console.print_json({**counted, "micro_usd": cloud.state.invoice.document()["micro_usd"]})
    else:
        console.out.print(_counts(cloud))


async def _until(stopped: asyncio.Event, cloud: Cloud, *, live: bool) -> None:
    import asyncio

    from rich.live import Live

    if not live:
        await stopped.wait()
        return
    with Live(_counts(cloud), console=console.err, refresh_per_second=REFRESHES_A_SECOND, transient=True) as view:
        while not stopped.is_set():
            try:
                async with asyncio.timeout(1 / REFRESHES_A_SECOND):
                    await stopped.wait()
            except TimeoutError:
                view.update(_counts(cloud))


def _announce(url: str, terms: Terms) -> None:
    lines = (
        f"[bold green]ready[/]   OpenAI [bold]{url}/v1[/]   Anthropic [bold]{url}[/]   (stop with Ctrl-C)",
        f"  · Limits: {terms.limits.name}; {_shown(terms.limits)} ({terms.limits.source}).",
        f"  · {len(terms.prices)} models at the price book's rates; any key will do, each has limits of its own.",
        f"  · Invoice: {url}/_sim/invoice   counts: {url}/_sim/requests   faults: {url}/_sim/faults",
    )
    for line in lines:
        console.err.print(line, highlight=False, soft_wrap=True)


def _shown(limits: AccountLimits) -> str:
    named = {
        "requests": limits.requests_per_minute,
        "tokens": limits.tokens_per_minute,
        "input tokens": limits.input_tokens_per_minute,
        "output tokens": limits.output_tokens_per_minute,
    }
    said = [f"{value:,} {name}" for name, value in named.items() if value is not None]
    return f"{', '.join(said)} a minute" if said else "nothing is limited"


def _counts(cloud: Cloud) -> Table:
    from rich.table import Table

    from breakeven import units

    counters = cloud.state.counters
    billed = sum((total.micro_usd for total in cloud.state.invoice.totals.values()), units.ZERO_USD)
    table = Table(title="What reached the simulated cloud", title_justify="left")
    for name in ("requests", "answered", "limited", "other errors", "tokens in", "tokens out", "billed"):
        table.add_column(name, justify="right")
    statuses = counters.by_status
    others = sum(count for status, count in statuses.items() if status not in (200, 429))
    table.add_row(
        str(counters.requests),
        str(statuses[200]),
        str(statuses[429]),
        str(others),
        units.tokens(counters.input_tokens),
        units.tokens(counters.output_tokens),
        units.usd(billed / units.TOKENS_PER_MILLION),
    )
    return table
