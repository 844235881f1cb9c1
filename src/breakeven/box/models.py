"""Model files on this machine: the records of what was pulled, and finding one by name.

Each model is ``models/NAME.gguf`` (or a file kept elsewhere) with its record ``models/NAME.json`` beside it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from breakeven.box.gguf import ModelShape, read_shape
from breakeven.errors import InputError, ModelFileError, UnknownModel

DEMO = "demo"
CHUNK = 1 << 20

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with what is being done, bytes done so far, and bytes in all (``None`` while unknown)."""


def no_progress(_doing: str, _done: int, _total: int | None) -> None:
    """Progress that nobody watches."""


class ModelFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model in a GGUF file.

    Attributes:
        name: how users and commands call it.
        path: the file.
        size: bytes.
        sha256: of the whole file, in hex; ``None`` for a path that was never registered.
        source: where it was fetched from.
        license: as its source states it; ``None`` when it does not.
        note: what a user must know before trusting its answers; empty when there is nothing.
        pulled: ISO date on which it was fetched or registered.
    """

    name: str
    path: Path
    size: int
    source: str
    sha256: str | None = None
    license: str | None = None
    note: str = ""
    pulled: str | None = None

    def shape(self) -> ModelShape:
        """What the file's header says.

        Raises:
            ModelFileError: the file is gone or damaged.
        """
        return read_shape(self.path)


class ModelStore:
    """The models folder of a home."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "models"

    def path_of(self, name: str) -> Path:
        """Where the file of a model of this name is kept."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}", name):
            raise InputError(f"model name {name!r}: expected letters, digits, '.', '_' and '-'")
        return self.folder / f"{name}.gguf"

    def models(self) -> list[ModelFile]:
        """All records, by name."""
        return [self._read(record) for record in sorted(self.folder.glob("*.json"))]

    def find(self, name: str) -> ModelFile | None:
        """The record of this name, if there is one."""
        record = self.path_of(name).with_suffix(".json")
        return self._read(record) if record.is_file() else None

    def add(self, model: ModelFile) -> ModelFile:
        """Write the record of a model whose file is in place.

        Raises:
            InputError: another file already has this name.
        """
        known = self.find(model.name)
        if known is not None and known.path != model.path and intact(known):
            raise InputError(
                f"the name {model.name!r} belongs to {known.path}", remedy="Give this one another with --name."
            )
        record = self.path_of(model.name).with_suffix(".json")
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = record.with_suffix(f".json.{os.getpid()}")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(model, enc_hook=str), indent=2))
        draft.replace(record)
        return model

    def _read(self, record: Path) -> ModelFile:
        try:
            return msgspec.json.decode(record.read_bytes(), type=ModelFile, dec_hook=lambda kind, value: kind(value))
        except (OSError, msgspec.DecodeError) as error:
            raise ModelFileError(
                f"model record {record} cannot be read: {error}", remedy="Delete it and pull the model again."
            ) from error


def register(path: Path, store: ModelStore, *, name: str | None = None, progress: Progress = no_progress) -> ModelFile:
    """Record a GGUF that the user already has; the file stays where it is.

    Raises:
        InputError: no such file, it is not a sound GGUF, or the name is taken.
    """
    path = path.expanduser().absolute()
    name = name or path.stem
    store.path_of(name)
    shape = _shape_of_given(path)
    return store.add(
        ModelFile(
            name=name,
            path=path,
            size=path.stat().st_size,
            source=str(path),
            sha256=sha256_of(path, progress),
            license=shape.license,
            pulled=today().isoformat(),
        )
    )


def resolve(name: str, home: Path, progress: Progress = no_progress) -> ModelFile:
    """The model that a setting names: a pulled model, a path, or ``demo``, which is fetched when it is missing.

    Raises:
        InputError: nothing of that name, or no sound GGUF at that path.
        ModelFileError: it cannot be fetched, or its file is gone or has changed.
    """
    store = ModelStore(home)
    path = Path(name).expanduser()
    if path.suffix == ".gguf" or len(path.parts) > 1:
        return _unregistered(path.absolute())
    model = store.find(name)
    if name == DEMO and (model is None or not intact(model)):
        from breakeven.box import demo_model  # noqa: PLC0415  that module builds on this one

        return demo_model.pull(store, progress)
    if model is None:
        known = ", ".join([DEMO, *(known.name for known in store.models() if known.name != DEMO)])
        raise UnknownModel(
            f"no model {name!r}; known are {known}", remedy=f"Fetch it with: breakeven models pull {name}"
        )
    if not intact(model):
        raise ModelFileError(
            f"the file of model {name!r}, {model.path}, is gone or has changed size",
            remedy=f"Fetch it again with: breakeven models pull {model.source}",
        )
    return model


def sha256_of(path: Path, progress: Progress = no_progress) -> str:
    """SHA-256 of a file, in hex."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    for chunk in chunks_of(path):
        digest.update(chunk)
        done += len(chunk)
        progress("verifying", done, total)
    return digest.hexdigest()


def chunks_of(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a piece at a time."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def today() -> date:
    """The date in UTC."""
    return datetime.now(UTC).date()


def intact(model: ModelFile) -> bool:
    """Whether the file of a record is there, at its recorded size."""
    return model.path.is_file() and model.path.stat().st_size == model.size


def _unregistered(path: Path) -> ModelFile:
    license_ = _shape_of_given(path).license
    return ModelFile(name=path.stem, path=path, size=path.stat().st_size, source=str(path), license=license_)


def _shape_of_given(path: Path) -> ModelShape:
    """The shape of a file that the user named."""
    if not path.is_file():
        raise InputError(
            f"model file {path} does not exist",
            remedy="Check the path; other models are 'demo' and Hugging Face repositories, owner/name.",
        )
    try:
        return read_shape(path)
    except ModelFileError as error:
        raise InputError(error.message, remedy=error.remedy) from error
