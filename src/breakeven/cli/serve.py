"""``breakeven serve``: the gateway, with the model behind it."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from breakeven.cli import console

if TYPE_CHECKING:
    from breakeven.config import Settings
    from breakeven.config.watch import LiveSettings
    from breakeven.gateway.assembly import Assembly

EPILOG = """Example: [bold]breakeven serve --port 4141[/], then point the OpenAI SDK at http://127.0.0.1:4141/v1."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=EPILOG)
    def serve(
        host: str | None = typer.Option(None, help="Address to bind; anything but loopback demands a key."),
        port: int | None = typer.Option(None, min=0, max=65535, help="TCP port; 0 picks a free one."),
        model: str | None = typer.Option(None, help="Model of the embedded engine: a pulled name, a path, or 'demo'."),
        config: Path | None = typer.Option(None, help="Configuration file; ./breakeven.toml is found by itself."),
        as_json: bool = typer.Option(False, "--json", help="Announce readiness as one JSON line on standard output."),
    ) -> None:
        """Serve OpenAI's and Anthropic's dialects, local first, and meter every call."""
        from breakeven.config import find_file
        from breakeven.config.watch import LiveSettings
        from breakeven.gateway.logs import configure_logging
        from breakeven.gateway.server import new_event_loop

        with console.reporting_errors():
            path = find_file(config)
            live = LiveSettings(
                path,
                _with_flags(console.load_settings(path), host, port, model),
                adjust=lambda settings: _with_flags(settings, host, port, model),
            )
            configure_logging(live.current.gateway)
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(_serve(live, as_json=as_json))


def _with_flags(settings: Settings, host: str | None, port: int | None, model: str | None) -> Settings:
    gateway = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    update: dict[str, object] = {}
    if gateway:
        update["gateway"] = settings.gateway.model_copy(update=gateway)
    if model is not None:
        update["engine"] = settings.engine.model_copy(update={"model": model})
    return settings.model_copy(update=update)


async def _serve(live: LiveSettings, *, as_json: bool) -> None:
    from breakeven.agents import database
    from breakeven.agents.inbox import Inbox
    from breakeven.gateway.app import Gateway
    from breakeven.gateway.assembly import assemble
    from breakeven.gateway.server import GatewayServer, bind

    settings = live.current
    home = console.home_of(settings)
    progress = console.DownloadProgress(hidden=as_json)
    agents = database.connect(settings.agents.url, home)
    with bind(settings.gateway.host, settings.gateway.port) as listener, closing(Inbox(agents)) as inbox:
        host, port = listener.getsockname()[:2]
        url = f"http://{host if ':' not in host else f'[{host}]'}:{port}"
        async with assemble(settings, home, progress=progress, inbox=inbox) as assembly, _following(live, assembly):
            progress.close()
            server = GatewayServer(Gateway(lambda: assembly.desk), settings.gateway.shutdown_seconds)
            async with server.running(listener):
                _announce(url, home, assembly)
                if assembly.engine_start is not None:
                    await server.unless_stopped(assembly.engine_start)
                gc.collect()
                gc.freeze()  # the price book and the code stay: going through them again costs every thousandth call
                whole = assembly.engine is None or assembly.engine.state.phase == "ready"
                if as_json:
                    sys.stdout.write(f'{{"ready": {"true" if whole else "false"}, "url": "{url}"}}\n')
                    sys.stdout.flush()
                elif not whole:
                    console.err.print(f"[bold yellow]without its engine[/] at [bold]{url}/v1[/]   (stop with Ctrl-C)")
                else:
                    console.err.print(f"[bold green]ready[/] at [bold]{url}/v1[/]   (stop with Ctrl-C)")
                await server.until_stopped()
                console.err.print("stopping: calls in flight may finish, then the books are closed")


@asynccontextmanager
async def _following(live: LiveSettings, assembly: Assembly) -> AsyncIterator[None]:
    """Take on changes of the file as they are saved, and on SIGHUP at once."""
    assembly.follow(live)
    loop = asyncio.get_running_loop()
    watching = loop.create_task(live.watch())
    reloads: set[asyncio.Task[bool]] = set()
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, lambda: reloads.add(loop.create_task(live.reload())))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, *reloads, return_exceptions=True)


def _announce(url: str, home: Path, assembly: Assembly) -> None:
    from rich.markup import escape

    models = ", ".join(route.name for route in assembly.desk.table)
    console.err.print(f"[bold]breakeven[/] at {url}/v1 serves {escape(models) or 'no model'}", highlight=False)
    for note in (*assembly.notes, f"The books are kept in {home}."):
        console.err.print(f"  · {escape(note)}", highlight=False, soft_wrap=True)
    if assembly.engine_start is not None:
        console.err.print("  · The model is loading; calls wait for it.")
