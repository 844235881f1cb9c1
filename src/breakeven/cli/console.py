"""How commands speak: one console, one way to fail, one way to print JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from breakeven import config
from breakeven.errors import BreakevenError, InputError

out = Console()
"""Standard output; colour only on a terminal."""
err = Console(stderr=True)
"""Standard error: progress, notices, errors."""

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def _encode(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise NotImplementedError(f"no JSON form for {type(value).__name__}")


def print_json(value: Any) -> None:
    """Print a value as indented JSON; money becomes exact decimal strings, unknown becomes null."""
    encoder = msgspec.json.Encoder(enc_hook=_encode, decimal_format="string")
    sys.stdout.write(msgspec.json.format(encoder.encode(value), indent=2).decode() + "\n")


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn errors raised on purpose into one clear line and an exit code that means something."""
    try:
        yield
    except BreakevenError as error:
        err.print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_BAD_INPUT if isinstance(error, InputError) else EXIT_FAILED) from error
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def load_settings(config_file: Path | None) -> config.Settings:
    """The settings that every command starts from."""
    return config.load(config.find_file(config_file))


class DownloadProgress:
    """A progress bar that appears when there is something to show, called as ``box.models.Progress`` is."""

    def __init__(self, *, hidden: bool = False) -> None:
        self._columns: Progress | None = None
        self._hidden = hidden
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, doing: str, done: int, total: int | None) -> None:
        """Note how far ``doing`` has come, in bytes."""
        if self._columns is None:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._columns = Progress(*columns, console=err, disable=self._hidden)
            self._columns.start()
        if doing not in self._tasks:
            self._tasks[doing] = self._columns.add_task(doing, total=total)
        self._columns.update(self._tasks[doing], completed=done, total=total)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._columns is not None:
            self._columns.stop()


class StepProgress:
    """A bar for work in named steps, each with the share of the whole that is done."""

    def __init__(self, *, hidden: bool = False) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self._bar = Progress(*columns, TimeElapsedColumn(), console=err, disable=hidden, transient=True)
        self._task = self._bar.add_task("starting", total=1.0)

    def __call__(self, doing: str, share: float) -> None:
        """Note what is being done now and how much of the whole is behind."""
        self._bar.start()
        self._bar.update(self._task, description=doing, completed=share)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()


def home_of(settings: config.Settings) -> Path:
    """The folder of the ledger, the journal and the models."""
    return settings.home or config.default_home()
