"""The few questions ``breakeven plan`` asks when it is run bare on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from breakeven.catalog.machines import machines
from breakeven.catalog.shapes import shapes
from breakeven.cli.console import out
from breakeven.planning.sources import preset, preset_names

if TYPE_CHECKING:
    from breakeven.planning.sources import Document

OWN = "my-own"


def ask() -> Document:
    """A scenario document from the answers; every question has a default."""
    out.print("[bold]Does a box of your own pay?[/] Enter takes what stands in brackets.\n", highlight=False)
    workload = _choice("What runs on it", [*preset_names(), OWN], "seed-agents")
    document: Document = {"name": "your scenario"} if workload == OWN else preset(workload)
    if workload == OWN:
        document["workload"] = {
            "requests_per_day": typer.prompt("Requests a day", default=1000.0),
            "input_tokens": typer.prompt("Tokens of a prompt", default=2000),
            "output_tokens": typer.prompt("Tokens of an answer", default=150),
        }
        needed = document["workload"]["input_tokens"] + document["workload"]["output_tokens"]
        document["serving"] = {"context_tokens": max(8192, needed)}
    box = document.setdefault("box", {})
    box["machine"] = _choice("Machine", [machine.key for machine in machines()], box.get("machine", "m4-max-128"))
    listed = next(machine for machine in machines() if machine.key == box["machine"])
    price = box.get("purchase_usd") or (str(listed.price_usd.value) if listed.price_usd else "5000")
    box["purchase_usd"] = typer.prompt("Its price in USD, 0 if you own it", default=str(price))
    box["count"] = typer.prompt("Boxes you have or would buy", default=1)
    box["usd_per_kwh"] = typer.prompt("Electricity, USD per kWh", default="0.17")
    if not listed.idle_watts or not listed.load_watts:
        box["idle_watts"] = typer.prompt("Watts when idle", default="60")
        box["load_watts"] = typer.prompt("Watts while serving", default="400")
    serving = document.setdefault("serving", {})
    serving["model"] = _choice("Model on the box", [shape.key for shape in shapes()], "llama-3.3-70b-q4_k_m")
    document.setdefault("cloud", {})["frontier"] = typer.prompt(
        "Cloud model to compare with", default="anthropic/claude-sonnet-5-5"
    )
    out.print()
    return document


def _choice(question: str, options: list[str], default: str) -> str:
    out.print(f"[dim]{', '.join(options)}[/]", highlight=False)
    while True:
        answer = str(typer.prompt(question, default=default))
        if answer in options:
            return answer
        out.print(f"[yellow]One of {', '.join(options)}, please.[/]", highlight=False)
