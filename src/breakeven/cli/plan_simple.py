"""``breakeven plan --simple``: the plain formula, M × C = H + E."""

from __future__ import annotations

from decimal import Decimal

from breakeven.cli.console import out, print_json
from breakeven.economics.simple import electricity_usd_monthly, simple_breakeven
from breakeven.errors import ScenarioError
from breakeven.units import tokens, usd

RANGES = {
    "price_usd": ("0", "10000000"),
    "usd_per_kwh": ("0", "5"),
    "usd_per_million": ("0.000001", "100000"),
    "watts": ("0", "100000"),
    "electricity_usd_monthly": ("0", "1000000"),
}
"""What is not absurd, as in a scenario."""


def show_simple(numbers: dict[str, str | None], term_months: int | None, *, as_json: bool) -> None:
    """The plain formula with its parts."""
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
    least, most = RANGES[name]
    try:
        value = Decimal(text)
    except ArithmeticError:
        value = Decimal("NaN")
    if not value.is_finite() or not Decimal(least) <= value <= Decimal(most):
        raise ScenarioError(f"--{name.replace('_', '-')}", text, f"a number from {least} to {most}")
    return value
