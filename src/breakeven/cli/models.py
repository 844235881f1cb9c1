"""``breakeven models``: fetch model files and see what is here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from breakeven.cli import console, models_fit

if TYPE_CHECKING:
    from breakeven.box.discovery import Found
    from breakeven.box.models import ModelFile, ModelStore, Progress

PULL_EXAMPLES = """Examples: [bold]breakeven models pull demo[/] · [bold]breakeven models pull ~/llama-70b.gguf[/] ·
[bold]breakeven models pull bartowski/Llama-3.3-70B-Instruct-GGUF:Q4_K_M[/]"""
LIST_EXAMPLE = "Example: [bold]breakeven models list --json[/]"

Config = typer.Option(None, help="Configuration file; ./breakeven.toml is found by itself.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    models = typer.Typer(help="Fetch model files, and list those that are here.", no_args_is_help=True)
    models.command(epilog=PULL_EXAMPLES)(pull)
    models.command("list", epilog=LIST_EXAMPLE)(list_models)
    models.command(epilog=models_fit.EPILOG)(models_fit.fit)
    app.add_typer(models, name="models")


def pull(
    target: str = typer.Argument(
        help="'demo', a GGUF file, or a Hugging Face repository: owner/name, owner/name:Q4_K_M, owner/name:FILE."
    ),
    name: str | None = typer.Option(None, help="What to call it; by default the file's name."),
    config: Path | None = Config,
    as_json: bool = typer.Option(False, "--json", help="Print the model's record as JSON."),
) -> None:
    """Fetch and verify a model; an interrupted download goes on where it stopped."""
    with console.reporting_errors():
        from breakeven.box.models import ModelStore

        store = ModelStore(console.home_of(console.load_settings(config)))
        progress = console.DownloadProgress(hidden=as_json)
        try:
            model = _pull(target, store, name, progress)
        finally:
            progress.close()
        if as_json:
            console.print_json(_record(model))
            return
        note = f" ({model.note})" if model.note else ""
        console.out.print(f"{model.name}{note}: {model.path}", highlight=False, soft_wrap=True, markup=False)
        console.out.print(f"Serve it with: breakeven serve --model {model.name}", highlight=False, markup=False)


def _pull(target: str, store: ModelStore, name: str | None, progress: Progress) -> ModelFile:
    from breakeven.box import demo_model, hub
    from breakeven.box.models import DEMO, register
    from breakeven.errors import InputError

    if target == DEMO:
        if name not in (None, DEMO):
            raise InputError(f"--name {name}: the demo model is always called 'demo'")
        return demo_model.pull(store, progress)
    path = Path(target).expanduser()
    on_hub = hub.HubTarget.parse(target)
    if path.is_file() or on_hub is None or (on_hub.wanted is None and path.suffix == ".gguf"):
        return register(path, store, name=name, progress=progress)
    return hub.pull(on_hub, store, name=name, progress=progress)


def list_models(
    config: Path | None = Config,
    as_json: bool = typer.Option(False, "--json", help="Print as JSON."),
) -> None:
    """Show the models that were pulled, and what model servers on this machine offer."""
    with console.reporting_errors():
        import asyncio

        from breakeven.box.discovery import discover
        from breakeven.box.models import ModelStore

        records = [_record(model) for model in ModelStore(console.home_of(console.load_settings(config))).models()]
        servers = asyncio.run(discover())
    if as_json:
        console.print_json({"models": records, "servers": servers})
    else:
        _print_models(records)
        _print_servers(servers)


def _record(model: ModelFile) -> dict[str, Any]:
    """A record with what the file itself says; ``problem`` says why it cannot be used."""
    from breakeven.errors import ModelFileError

    record: dict[str, Any] = {
        "name": model.name,
        "path": str(model.path),
        "size": model.size,
        "sha256": model.sha256,
        "source": model.source,
        "license": model.license,
        "note": model.note,
        "pulled": model.pulled,
    }
    try:
        shape = model.shape()
    except ModelFileError as error:
        return record | {"problem": error.message}
    return record | {
        "architecture": shape.architecture,
        "parameters": shape.parameter_count,
        "quantisation": shape.quantisation,
        "context": shape.context_length,
        "kv_bytes_per_token": shape.kv_bytes_per_token,
        "has_chat_template": shape.has_chat_template,
    }


def _print_models(records: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from breakeven.units import GB, UNKNOWN

    if not records:
        console.out.print(
            "No models yet. Fetch the demo model (98 MB; plumbing, not quality): breakeven models pull demo",
            soft_wrap=True,
        )
        return
    table = Table()
    for column in ("name", "size", "quantisation", "context", "source", "note"):
        table.add_column(column, overflow="fold", no_wrap=column in ("size", "quantisation", "context"))
    for record in records:
        cells = (
            record["name"],
            f"{record['size'] / GB:.2f} GB",
            record.get("quantisation") or UNKNOWN,
            f"{record['context']:,}" if record.get("context") else UNKNOWN,
            record["source"],
            record.get("problem") or record["note"],
        )
        table.add_row(*(Text(cell, style="red" if "problem" in record else "") for cell in cells))
    console.out.print(table)


def _print_servers(servers: tuple[Found, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    from breakeven.units import UNKNOWN

    if not servers:
        console.out.print("No model server found on this machine (Ollama, LM Studio, llama-server, vLLM).")
        return
    state = {True: "loaded", False: "not loaded", None: UNKNOWN}
    table = Table("server", "address", "model", "context", "state")
    for server in servers:
        name = f"{server.kind} {server.version}" if server.version else server.kind
        for model in server.models:
            context = f"{model.context:,}" if model.context else UNKNOWN
            table.add_row(*map(Text, (name, server.base_url, model.id, context, state[model.loaded])))
        if not server.models:
            table.add_row(*map(Text, (name, server.base_url, "no model", "", "")))
    console.out.print(table)
