"""``breakeven service``: start at boot."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from breakeven.cli import console

if TYPE_CHECKING:
    from breakeven.box.boot_service import BootService

INSTALL_EPILOG = "Example: [bold]breakeven service install --config ~/breakeven.toml[/], then run the line it prints."
UNINSTALL_EPILOG = "Example: [bold]breakeven service uninstall[/]"
SHOW_EPILOG = "Example: [bold]breakeven service show[/]"
CONFIG = typer.Option(None, help="Configuration file to serve with.", exists=True, dir_okay=False)
DRY_RUN = typer.Option(False, "--dry-run", help="Only show what would be written.")
AS_JSON = typer.Option(False, "--json", help="Print JSON.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    service = typer.Typer(help="Have the gateway and its model started at boot.", no_args_is_help=True)
    app.add_typer(service, name="service")

    @service.command(epilog=INSTALL_EPILOG)
    def install(config: Path | None = CONFIG, dry_run: bool = DRY_RUN, as_json: bool = AS_JSON) -> None:
        """Write the file that the system starts the gateway by; nothing is started."""
        with console.reporting_errors():
            found = _service(config)
            if not dry_run:
                found.path.parent.mkdir(parents=True, exist_ok=True)
                found.path.write_text(found.text, encoding="utf-8")
            _tell(found, as_json=as_json, what="would be written" if dry_run else "written")

    @service.command(epilog=UNINSTALL_EPILOG)
    def uninstall(dry_run: bool = DRY_RUN, as_json: bool = AS_JSON) -> None:
        """Delete that file; a gateway that runs goes on."""
        with console.reporting_errors():
            found = _service(None)
            there = found.path.exists()
            if there and not dry_run:
                found.path.unlink()
            word = ("would be deleted" if dry_run else "deleted") if there else "not installed"
            _tell(found, as_json=as_json, what=word, text=False)

    @service.command(epilog=SHOW_EPILOG)
    def show(config: Path | None = CONFIG, as_json: bool = AS_JSON) -> None:
        """Show the file, and whether it is installed as it would be written now."""
        with console.reporting_errors():
            found = _service(config)
            there = found.path.read_text(encoding="utf-8") if found.path.exists() else None
            word = "not installed" if there is None else "installed" if there == found.text else "installed, different"
            _tell(found, as_json=as_json, what=word)


def _service(config: Path | None) -> BootService:
    from breakeven.box.boot_service import boot_service, system_of

    settings = console.load_settings(config)
    return boot_service(
        system_of(sys.platform),
        (sys.executable, "-m", "breakeven"),
        home=Path.home(),
        logs=console.home_of(settings) / "logs",
        config=None if config is None else config.absolute(),
        user_id=os.getuid(),
    )


def _tell(found: BootService, *, as_json: bool, what: str, text: bool = True) -> None:
    if as_json:
        console.print_json(
            {
                "system": found.system,
                "path": str(found.path),
                "state": what,
                "text": found.text if text else None,
                "start": list(found.start),
                "stop": list(found.stop),
            }
        )
        return
    console.out.print(f"{found.path}: {what}", highlight=False, soft_wrap=True)
    if text:
        console.out.print(found.text, highlight=False, soft_wrap=True, markup=False)
    console.out.print(f"start now and at each boot: {shlex.join(found.start)}", highlight=False, soft_wrap=True)
    console.out.print(f"stop, and not again at boot: {shlex.join(found.stop)}", highlight=False, soft_wrap=True)
    if found.system == "systemd":
        console.out.print("start before you log in: loginctl enable-linger", highlight=False, soft_wrap=True)
