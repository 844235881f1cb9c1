"""The ``breakeven`` command. Each subcommand lives in a file of its own and is imported when it is run."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer

from breakeven import __version__

COMMANDS = {
    "serve": "breakeven.cli.serve",
    "explain": "breakeven.cli.explain",
    "config": "breakeven.cli.config",
    "keys": "breakeven.cli.keys",
    "models": "breakeven.cli.models",
    "demo": "breakeven.cli.demo",
    "agents": "breakeven.cli.agents",
    "prices": "breakeven.cli.prices",
    "machines": "breakeven.cli.machines",
    "statement": "breakeven.cli.statement",
    "import": "breakeven.cli.import_",
    "export": "breakeven.cli.export",
    "plan": "breakeven.cli.plan",
    "measure": "breakeven.cli.measure",
    "top": "breakeven.cli.top",
    "doctor": "breakeven.cli.doctor",
    "service": "breakeven.cli.service",
    "simulate-cloud": "breakeven.cli.simulate_cloud",
    "reprice": "breakeven.cli.reprice",
}
"""Subcommand → module with a ``register(app)`` function."""


def build() -> typer.Typer:
    """The command tree."""
    app = typer.Typer(
        name="breakeven",
        help="Local-first inference desk: gateway, ledger and the honest breakeven.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
        if version:
            typer.echo(f"breakeven {__version__}")
            raise typer.Exit

    for module in COMMANDS.values():
        importlib.import_module(module).register(app)
    return app


def main(arguments: list[str] | None = None) -> Any:
    """Entry point of the console script."""
    return build()(args=sys.argv[1:] if arguments is None else arguments)
