"""``breakeven models fit``: whether a model finds room, before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from breakeven.cli import console

if TYPE_CHECKING:
    from breakeven.box.fit import Fit
    from breakeven.config import Settings
    from breakeven.economics.memory import ModelShape

EPILOG = """Examples: [bold]breakeven models fit demo[/] ·
[bold]breakeven models fit llama-3.3-70b-q4_k_m --machine m4-max-128 --context 131072 --no-flash-attention[/]"""
COLOURS = {"fits": "green", "fits with q8_0 KV": "yellow", "fits with less context": "yellow", "does not fit": "red"}


def fit(
    model: str = typer.Argument(help="A pulled model, a GGUF file, or a model of the catalogue (breakeven machines)."),
    context: int | None = typer.Option(None, min=1, help="Tokens of context of a slot; by default engine.context."),
    slots: int | None = typer.Option(None, min=1, max=64, help="Calls at once; by default engine.slots."),
    machine: str | None = typer.Option(None, help="A machine of the catalogue instead of this one."),
    flash_attention: bool = typer.Option(True, help="Whether the engine runs with flash attention."),
    config: Path | None = typer.Option(None, help="Configuration file; ./breakeven.toml is found by itself."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Whether weights, KV cache and buffers find room, with the arithmetic. Exit code 1 when they do not."""
    with console.reporting_errors():
        from breakeven.box import memory_limit
        from breakeven.box.fit import Verdict
        from breakeven.box.fit import fit as held_against
        from breakeven.catalog.machines import find_machine

        settings = console.load_settings(config)
        shape, name = _shape(model, settings)
        engine = settings.engine
        capacity = (
            memory_limit.this_machine(gpu_layers=engine.gpu_layers)
            if machine is None
            else memory_limit.listed_machine(find_machine(machine))
        )
        wanted = min(context or engine.context, shape.max_context_tokens)
        answer = held_against(
            shape, capacity, context_tokens=wanted, slots=slots or engine.slots, flash_attention=flash_attention
        )
        if as_json:
            console.print_json({"model": name, "sentence": answer.sentence, **_document(answer)})
        else:
            _show(answer, name)
        if answer.verdict is Verdict.DOES_NOT_FIT:
            raise typer.Exit(console.EXIT_FAILED)


def _shape(model: str, settings: Settings) -> tuple[ModelShape, str]:
    from breakeven.box.fit import shape_of
    from breakeven.box.models import resolve
    from breakeven.catalog.shapes import shapes

    listed = next((listed for listed in shapes() if listed.key == model), None)
    if listed is not None:
        return listed.shape, listed.name
    file = resolve(model, console.home_of(settings))
    return shape_of(file.shape(), file.name), file.name


def _document(answer: Fit) -> dict[str, object]:
    return {
        "verdict": answer.verdict,
        "context_tokens": answer.context_tokens,
        "slots": answer.slots,
        "usable_bytes": answer.capacity.usable_bytes,
        "usable_source": answer.capacity.source,
        "needed_bytes": answer.need.total,
        "needed_bytes_q8_kv": answer.need_q8_kv.total,
        "most_context_tokens": answer.most_context,
        "most_context_tokens_q8_kv": answer.most_context_q8_kv,
        "parts": [{"part": part, "bytes": size, "how": how} for part, size, how in answer.arithmetic],
    }


def _show(answer: Fit, name: str) -> None:
    from rich.markup import escape

    from breakeven.cli.plan_view import table
    from breakeven.units import GIB

    out = console.out
    out.print(f"[bold]{escape(name)}[/]  [{COLOURS[answer.verdict]}]{escape(answer.sentence)}[/]", highlight=False)
    rows = table("Part", "GiB", "How")
    rows.columns[-1].justify = "left"
    for part, size, how in answer.arithmetic:
        rows.add_row(part, f"{size / GIB:.2f}", escape(how))
    rows.add_row("[bold]needed[/]", f"[bold]{answer.need.total_gib:.2f}[/]", "with the f16 KV cache")
    q8 = f"KV cache of {answer.need_q8_kv.kv_cache / GIB:.2f} GiB: 34 bytes for 32 elements"
    rows.add_row("needed with q8_0 KV", f"{answer.need_q8_kv.total_gib:.2f}", q8)
    rows.add_row("usable", f"{answer.capacity.usable_bytes / GIB:.2f}", escape(answer.capacity.source))
    out.print(rows)
