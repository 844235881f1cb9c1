"""Models from the Hugging Face hub: choosing a file of a repository, and fetching it so that nothing is lost or wrong.

Interface: ``GET /api/models/REPO`` and ``/api/models/REPO/tree/REVISION`` describe, ``GET /REPO/resolve/REVISION/FILE``
delivers and honours ``Range`` (https://huggingface.co/docs/hub/api).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec
from pyreqwest.client import SyncClient, SyncClientBuilder
from pyreqwest.exceptions import BuilderError, RequestError
from pyreqwest.request import SyncStreamRequest

from breakeven.box.gguf import read_shape
from breakeven.box.models import ModelFile, ModelStore, Progress, chunks_of, no_progress, today
from breakeven.errors import InputError, ModelFileError
from breakeven.units import GB

ENDPOINT = "https://huggingface.co"
PREFERRED = "Q4_K_M"
"""The quantisation taken when a repository has several and none is named."""
ATTEMPTS = 6
"""Interruptions in a row, without a byte in between, after which a download is given up."""
STALL = timedelta(seconds=60)
NOT_THE_MODEL = re.compile(r"(^|/)mmproj|imatrix", re.IGNORECASE)
SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HubTarget:
    """``owner/name``, or ``owner/name:wanted`` with a file name or a quantisation."""

    repository: str
    wanted: str | None

    @classmethod
    def parse(cls, text: str) -> HubTarget | None:
        """Read a target; ``None`` when it does not have that form."""
        match = re.fullmatch(r"([\w-][\w.-]*/[\w-][\w.-]*)(?::(.+))?", text, re.ASCII)
        return cls(match[1], match[2]) if match else None


class _Lfs(msgspec.Struct, frozen=True):
    oid: str
    size: int


class _Entry(msgspec.Struct, frozen=True):
    path: str
    size: int = 0
    lfs: _Lfs | None = None


class _Card(msgspec.Struct, frozen=True):
    license: str | None = None


class _Repository(msgspec.Struct, frozen=True, rename={"card": "cardData"}):
    sha: str
    card: _Card | None = None


def pull(
    target: HubTarget,
    store: ModelStore,
    *,
    name: str | None = None,
    progress: Progress = no_progress,
    environment: Mapping[str, str] = os.environ,
    sleep: Callable[[float], None] = time.sleep,
) -> ModelFile:
    """Fetch one GGUF of a repository, verify it against the hub's SHA-256 and record it.

    What arrived before an interruption is kept, and fetched from there on the next time. ``HF_ENDPOINT`` names
    another hub, ``HF_TOKEN`` opens gated repositories.

    Raises:
        InputError: no such repository or file, or the choice is not clear.
        ModelFileError: it cannot be fetched, or what came is not what the hub's checksum says.
    """
    endpoint = environment.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    with SyncClientBuilder().connect_timeout(timedelta(seconds=15)).read_timeout(STALL).build() as client:
        hub = _Hub(client, endpoint, environment.get("HF_TOKEN"))
        repository = hub.repository(target.repository)
        file = _choose(target, hub.files(target.repository, repository.sha))
        name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", Path(file.path).stem).strip("-.")
        path = store.path_of(name)
        known = store.find(name)
        if known is not None and known.sha256 != file.sha256:
            raise InputError(
                f"the name {name!r} belongs to {known.source}", remedy="Give this one another with --name."
            )
        url = f"{endpoint}/{target.repository}/resolve/{repository.sha}/{quote(file.path)}"
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
            part = store.folder / f".{name}.{file.sha256[:16]}.part"
            _Download(hub, url, file, part, progress, sleep).run()
            shape = read_shape(part)
            part.replace(path)
        except OSError as error:
            raise ModelFileError(f"{path} cannot be written: {error.strerror or error}") from error
    return store.add(
        ModelFile(
            name=name,
            path=path,
            size=file.size,
            source=f"{target.repository}:{file.path}",
            sha256=file.sha256,
            license=(repository.card.license if repository.card else None) or shape.license,
            pulled=today().isoformat(),
        )
    )


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    size: int
    sha256: str


def _choose(target: HubTarget, files: list[_File]) -> _File:
    models = [file for file in files if file.path.lower().endswith(".gguf") and not NOT_THE_MODEL.search(file.path)]
    if not models:
        raise InputError(
            f"{target.repository} holds no GGUF file", remedy="Look for a repository whose name ends in -GGUF."
        )
    several = sum(not SPLIT.search(file.path) for file in models) > 1
    wanted = target.wanted or (PREFERRED if several else "")
    matching = [file for file in models if file.path == wanted]
    matching = matching or [file for file in models if wanted.lower() in file.path.lower()]
    whole = [file for file in matching if not SPLIT.search(file.path)]
    if len(whole) == 1:
        return whole[0]
    if matching and not whole:
        raise InputError(
            f"{matching[0].path} is split over several files, which breakeven does not fetch",
            remedy="Choose a smaller quantisation, or join the parts with llama-gguf-split and pull the file by path.",
        )
    what = "fits several files" if whole else "fits no file"
    raise InputError(
        f"{target.repository}: {wanted!r} {what}: {', '.join(file.path for file in whole or models)}",
        remedy=f"Name one: {target.repository}:FILE.",
    )


class _Hub:
    """Requests to the hub, its refusals turned into errors that say what to do."""

    def __init__(self, client: SyncClient, endpoint: str, token: str | None) -> None:
        self._client = client
        self._endpoint = endpoint
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def repository(self, name: str) -> _Repository:
        return self._describe(f"{self._endpoint}/api/models/{name}", _Repository)[0]

    def files(self, name: str, revision: str) -> list[_File]:
        """All files of a revision that the hub holds a SHA-256 for, as it does for all large ones."""
        url: str | None = f"{self._endpoint}/api/models/{name}/tree/{revision}?recursive=true"
        files: list[_File] = []
        while url:
            entries, url = self._describe(url, list[_Entry])
            files += [_File(entry.path, entry.lfs.size, entry.lfs.oid) for entry in entries if entry.lfs]
        return files

    def _describe(self, url: str, kind: type[T]) -> tuple[T, str | None]:
        """The description at a URL, and the URL of its next page."""
        try:
            response = self._client.get(url).headers(self._headers).build().send()
            self.check(response.status, url)
            described = msgspec.json.decode(bytes(response.bytes()), type=kind)
        except (RequestError, BuilderError) as error:
            raise self.unreachable(error) from error
        except msgspec.MsgspecError as error:
            raise ModelFileError(f"{url} did not answer as a Hugging Face hub does: {error}") from error
        following = re.search(r'<([^>]+)>;\s*rel="next"', response.get_header("link") or "")
        return described, following[1] if following else None

    def stream(self, url: str, start: int) -> SyncStreamRequest:
        """A streamed response for the bytes from ``start``."""
        headers = self._headers | ({"Range": f"bytes={start}-"} if start else {})
        return self._client.get(url).headers(headers).build_streamed()

    def check(self, status: int, url: str) -> None:
        if status < HTTPStatus.BAD_REQUEST:
            return
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise InputError(
                f"the hub refuses {url} ({status})",
                remedy="It does not exist, or is gated: accept its terms on the hub and set HF_TOKEN.",
            )
        if status == HTTPStatus.NOT_FOUND:
            raise InputError(f"{url} does not exist on the hub", remedy="Check owner, name and file.")
        raise ModelFileError(f"the hub answered {status} for {url}", remedy="Try again later; nothing fetched is lost.")

    def unreachable(self, error: Exception) -> ModelFileError:
        return ModelFileError(
            f"{self._endpoint} cannot be reached: {error}",
            remedy="Check the network or HF_ENDPOINT, and run the same command again: it goes on where it stopped.",
        )


class _Download:
    """One file on its way into a ``.part``: goes on after interruptions, and is verified as it arrives."""

    def __init__(
        self, hub: _Hub, url: str, file: _File, part: Path, progress: Progress, sleep: Callable[[float], None]
    ) -> None:
        self._hub, self._url, self._file, self._part = hub, url, file, part
        self._progress, self._sleep = progress, sleep
        self._digest = hashlib.sha256()
        self._done = 0

    def run(self) -> None:
        """Fetch what is missing and verify the whole.

        Raises:
            ModelFileError: given up, no space, or not what the checksum says; the part is kept unless it is wrong.
        """
        self._take_up()
        missing, free = self._file.size - self._done, shutil.disk_usage(self._part.parent).free
        if missing > free:
            raise ModelFileError(
                f"{self._file.path} needs {missing / GB:.1f} GB more and {self._part.parent} has {free / GB:.1f} GB",
                remedy="Free some space, or set BREAKEVEN_HOME to a folder on a larger disk.",
            )
        failures = 0
        while self._done < self._file.size:
            before = self._done
            try:
                self._fetch()
            except (RequestError, BuilderError) as error:
                failures = 1 if self._done > before else failures + 1
                if failures >= ATTEMPTS:
                    raise self._hub.unreachable(error) from error
                self._sleep(min(30.0, 2.0 ** (failures - 1)))
        if self._done != self._file.size or self._digest.hexdigest() != self._file.sha256:
            self._part.unlink()
            raise ModelFileError(
                f"what came of {self._file.path} is not what the hub's checksum says ({self._done:,} bytes, sha256 "
                f"{self._digest.hexdigest()[:16]}… instead of {self._file.size:,}, {self._file.sha256[:16]}…)",
                remedy="It was deleted; run the same command again.",
            )

    def _take_up(self) -> None:
        """Go on from what an earlier run left, if it can be a beginning of this file."""
        if not self._part.exists() or self._part.stat().st_size > self._file.size:
            self._part.write_bytes(b"")
        for chunk in chunks_of(self._part):
            self._count(chunk, "verifying what is here")

    def _fetch(self) -> None:
        with self._hub.stream(self._url, self._done) as response, self._part.open("ab") as file:
            self._hub.check(response.status, self._url)
            if response.status != HTTPStatus.PARTIAL_CONTENT and self._done:
                file.truncate(0)  # the server starts over
                self._digest, self._done = hashlib.sha256(), 0
            while (chunk := response.body_reader.read_chunk()) is not None:
                piece = bytes(chunk)
                file.write(piece)
                self._count(piece, "downloading")
                if self._done > self._file.size:
                    return
            file.flush()
            os.fsync(file.fileno())

    def _count(self, piece: bytes, doing: str) -> None:
        self._digest.update(piece)
        self._done += len(piece)
        self._progress(doing, self._done, self._file.size)
