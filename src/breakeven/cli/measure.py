"""``breakeven measure``: how fast this box really is, kept as its measured rates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from breakeven.cli import console

if TYPE_CHECKING:
    from breakeven.catalog.measurements import Measurement
    from breakeven.config import Settings

EPILOG = """Examples: [bold]breakeven measure --quick[/] ·
[bold]breakeven measure --base-url http://127.0.0.1:11434[/] · [bold]breakeven measure --list[/]"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=EPILOG)
    def measure(
        model: str | None = typer.Option(None, help="A model of the engine, or of the server at --base-url."),
        base_url: str | None = typer.Option(
            None, help="A running Ollama, LM Studio, llama-server or vLLM: http://HOST:PORT."
        ),
        key_env: str | None = typer.Option(None, help="Environment variable that holds the server's key."),
        machine: str | None = typer.Option(
            None, help="The machine's name in the catalogue; by default \\[box] machine."
        ),
        shape: str | None = typer.Option(None, help="The model's name in the catalogue, where it is not recognised."),
        parallel: int | None = typer.Option(None, min=1, max=64, help="Most answers at once; by default the slots."),
        quick: bool = typer.Option(False, "--quick", help="A minute or two: fewer and shorter prompts."),
        list_all: bool = typer.Option(False, "--list", help="Show what was measured before."),
        config: Path | None = typer.Option(None, help="Configuration file; ./breakeven.toml is found by itself."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    ) -> None:
        """Time prefill and decode of your own box, and keep them for plans and predicted waits.

        Times prompts of several lengths, answers at once, loading and a cached prompt; watts where there is a meter.
        Let nothing else run meanwhile.
        """
        import asyncio

        with console.reporting_errors():
            settings = console.load_settings(config)
            if machine is not None:
                settings = settings.model_copy(update={"box": settings.box.model_copy(update={"machine": machine})})
            if list_all:
                _list(settings, as_json=as_json)
                return
            if shape is not None:
                from breakeven.catalog.shapes import find_shape

                find_shape(shape)
            key = _key(key_env)
            taken = asyncio.run(_measure(settings, model, base_url, key, shape, parallel, quick=quick, hidden=as_json))
            if as_json:
                console.print_json(taken)
            else:
                from breakeven.cli.measure_view import show

                show(taken, console.out)


def _key(variable: str | None) -> str | None:
    import os

    from breakeven.errors import InputError

    if variable is None:
        return None
    if not (key := os.environ.get(variable)):
        raise InputError(f"--key-env {variable}: that variable is not set")
    return key


def _list(settings: Settings, *, as_json: bool) -> None:
    from breakeven.catalog.measurements import Measurements
    from breakeven.cli.measure_view import show_list

    taken = Measurements(console.home_of(settings)).all()
    if as_json:
        console.print_json(taken)
    else:
        show_list(taken, console.out)


async def _measure(
    settings: Settings,
    model: str | None,
    base_url: str | None,
    key: str | None,
    shape: str | None,
    parallel: int | None,
    *,
    quick: bool,
    hidden: bool,
) -> Measurement:
    from breakeven.box.bench_run import take_measurement
    from breakeven.box.bench_target import open_target
    from breakeven.catalog.machines import box_figures
    from breakeven.catalog.measurements import Measurements

    home = console.home_of(settings)
    box_figures(settings.box)  # an unknown machine is refused before minutes are spent
    downloads = console.DownloadProgress(hidden=hidden)
    steps = console.StepProgress(hidden=hidden)
    try:
        async with open_target(settings, home, model=model, base_url=base_url, key=key, progress=downloads) as target:
            downloads.close()
            taken = await take_measurement(
                target, settings.box, quick=quick, most_parallel=parallel, shape=shape, step=steps
            )
    finally:
        downloads.close()
        steps.close()
    Measurements(home).save(taken)
    return taken
