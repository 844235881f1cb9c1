"""``breakeven config``: check the configuration file, show what holds, print its schema."""

from __future__ import annotations

from pathlib import Path

import typer

from breakeven.cli import console

EPILOG_CHECK = "Example: [bold]breakeven config check --config breakeven.toml[/]"
EPILOG_SHOW = "Example: [bold]breakeven config show --all[/]"
EPILOG_SCHEMA = "Example: [bold]breakeven config schema > breakeven.schema.json[/]"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Check, show and describe the configuration file.", no_args_is_help=True)
    group.command(epilog=EPILOG_CHECK)(check)
    group.command(epilog=EPILOG_SHOW)(show)
    group.command(epilog=EPILOG_SCHEMA)(schema)
    app.add_typer(group, name="config")


def check(
    config: Path | None = typer.Option(None, help="Configuration file; ./breakeven.toml is found by itself."),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON."),
) -> None:
    """Say whether the file is valid, and what in it is doubtful. Exit code 2 when it is not valid."""
    with console.reporting_errors():
        import os

        from breakeven.config import find_file, load
        from breakeven.config.check import doubts

        path = find_file(config)
        settings = load(path)
        for task in settings.tasks.values():
            if task.gates.check is not None:
                from breakeven.routing.gates import load_check

                load_check(task.gates.check)
        found = list(doubts(settings, os.environ))
        if as_json:
            console.print_json({"file": str(path) if path else None, "valid": True, "doubts": found})
            return
        console.out.print(f"{path or 'no file, the defaults'}: valid", highlight=False, soft_wrap=True)
        for doubt in found:
            console.out.print(f"  · {doubt}", highlight=False, soft_wrap=True, markup=False)


def show(
    config: Path | None = typer.Option(None, help="Configuration file; ./breakeven.toml is found by itself."),
    everything: bool = typer.Option(False, "--all", help="Also the defaults."),
    as_json: bool = typer.Option(False, "--json", help="Print them as JSON."),
) -> None:
    """Show the settings that hold, with what is assumed of each provider. Secrets are never shown."""
    with console.reporting_errors():
        from breakeven.config import find_file, load
        from breakeven.config.show import assumptions, document, toml

        path = find_file(config)
        settings = load(path)
        if as_json:
            assumed = {name: assumptions(provider) for name, provider in settings.providers.items()}
            shown = document(settings, defaults=everything)
            console.print_json({"file": str(path) if path else None, "settings": shown, "providers": assumed})
            return
        typer.echo(f"# {path or 'no file: the defaults hold'}\n{toml(settings, defaults=everything)}", nl=False)


def schema() -> None:
    """Print the JSON Schema of the file, for editors that complete and check TOML."""
    from breakeven.config.show import json_schema

    console.print_json(json_schema())
