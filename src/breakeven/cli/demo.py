"""``breakeven demo``: real bulk work through the running gateway, then the statement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from breakeven.cli import console

if TYPE_CHECKING:
    from breakeven.demo.work import Answer

EPILOG = "Example: [bold]breakeven demo --parallel 4[/], with [bold]breakeven serve[/] running in another shell."


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=EPILOG)
    def demo(
        url: str | None = typer.Option(None, help="The gateway; by default the address in the configuration."),
        key_variable: str = typer.Option(
            "BREAKEVEN_KEY", help="Environment variable that holds your key, if it needs one."
        ),
        model: str = typer.Option("local", help="Model to ask for."),
        parallel: int = typer.Option(2, min=1, max=64, help="Calls sent at once."),
        config: Path | None = typer.Option(None, help="Configuration file."),
        as_json: bool = typer.Option(False, "--json", help="Print the calls and the totals as JSON."),
    ) -> None:
        """Tag, extract from and summarise 20 support tickets, and show what that cost."""
        import asyncio
        import os

        from breakeven.cli.statement import show_statement
        from breakeven.demo import work

        with console.reporting_errors():
            settings = console.load_settings(config)
            base_url = url or f"http://{settings.gateway.host}:{settings.gateway.port}/v1"
            key = os.environ.get(key_variable, "none")
            answers = asyncio.run(_run(base_url, key, model, parallel, quiet=as_json))
            if as_json:
                console.print_json(
                    {
                        "calls": [
                            {"id": a.call_id, "ticket": a.ticket.id, "task": a.task.name, "text": a.text}
                            for a in answers
                        ],
                        "prompt_tokens": sum(a.prompt_tokens for a in answers),
                        "completion_tokens": sum(a.completion_tokens for a in answers),
                    }
                )
                return
            _show_answers(answers)
            if note := work.model_note(base_url, key, model):
                console.out.print(f"[yellow]The model {model!r} is {note}.[/]", highlight=False)
            show_statement(settings)


async def _run(base_url: str, key: str, model: str, parallel: int, *, quiet: bool) -> list[Answer]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from breakeven.demo import work

    total = len(work.load_tickets()) * len(work.TASKS)
    columns = (TextColumn("tickets × tasks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    answers = []
    with Progress(*columns, console=console.err, disable=quiet) as progress:
        bar = progress.add_task("calls", total=total)
        async for answer in work.run(base_url, key, model, parallel):
            answers.append(answer)
            progress.advance(bar)
    return answers


def _show_answers(answers: list[Answer]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="A few of the answers", title_justify="left", show_lines=False)
    table.add_column("ticket", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("answer", overflow="ellipsis", no_wrap=True)
    for answer in sorted(answers, key=lambda a: (a.ticket.id, a.task.name))[:6]:
        table.add_row(answer.ticket.id, answer.task.name, escape(" ".join(answer.text.split())))
    console.out.print(table)
