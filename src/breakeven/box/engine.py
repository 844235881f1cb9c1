"""The embedded engine: llama.cpp in a child process that is started, watched, restarted and stopped here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal, TypeAlias

from pyreqwest.exceptions import RequestError

from breakeven.box.cache_size import CacheSize, PromptDemand
from breakeven.box.canary import Canary
from breakeven.box.engine_child import GPU_BATCH, ChildConfig, Ready
from breakeven.box.engine_fit import cache_size, kv_bytes_per_token, why_no_room
from breakeven.box.engine_log import EngineLog
from breakeven.box.engine_probe import EngineProbe
from breakeven.box.engine_process import EngineProcess
from breakeven.box.kv_files import KvFiles
from breakeven.box.models import ModelFile
from breakeven.box.supervision import Supervision
from breakeven.config import EngineSettings
from breakeven.errors import EngineUnavailable, ModelFileError

log = logging.getLogger(__name__)

Phase: TypeAlias = Literal["loading", "ready", "restarting", "failed", "stopped"]

NO_LIBRARY = (
    "Use a server you already run (Ollama, LM Studio, llama-server, vLLM) as a [providers] entry, or a platform that "
    "xllamacpp has wheels for: Linux x86-64, macOS arm64, Windows."
)


@dataclass(frozen=True, slots=True)
class EngineState:
    """Where the engine stands.

    Attributes:
        phase: what it is doing.
        since: Unix time in seconds at which it began to.
        reason: why it left the phase before, in words; empty when that was expected.
        last_exit: how the latest child ended, for instance ``was killed by SIGKILL``; ``None`` while the first runs.
    """

    phase: Phase
    since: float
    reason: str = ""
    last_exit: str | None = None


def default_threads() -> int:
    """One fewer than the cores this process may use: a busy neighbour then costs little decode speed."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores - 1)


class Engine:
    """A supervised llama.cpp server for one model.

    The address changes with each restart: read `base_url` for every call.

    Args:
        demand: asked at each load for the prompts to keep, where the size of the cache is not set.

    Attributes:
        state: where it stands now.
        restarts: how often the child had to be replaced.
        context: tokens of context of each slot, as the engine reports it once it has started.
        slots: calls served at once.
        pid: process id of the child; ``None`` when there is none.
        canary: what is known of the answer to the canary prompt, if `engine.canary_seconds` is set.
        kv_files: where slots are saved to; ``None`` when they are not.
        cache: host memory for prompts evicted from slots, as chosen for the latest load; ``None`` before the first.
        kv_bytes_per_token: what one token of a prompt takes there; ``None`` where the model's file does not tell.
        key: secret that calls to `base_url` must present as ``Authorization: Bearer …``, so that nothing else on the
            machine, a page in a browser least of all, uses the engine past the ledger.
    """

    def __init__(
        self,
        settings: EngineSettings,
        model: ModelFile,
        logs: Path,
        *,
        kv_files: KvFiles | None = None,
        supervision: Supervision | None = None,
        demand: Callable[[], PromptDemand] = PromptDemand,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.model = model
        self.slots = settings.slots
        self.context = settings.context
        self.restarts = 0
        self.canary = Canary()
        self.key = secrets.token_urlsafe(32)
        self.log = EngineLog(logs)
        self.kv_files = kv_files
        self.cache: CacheSize | None = None
        self.kv_bytes_per_token: int | None = None
        self._settings = settings
        self._demand = demand
        self._supervision = supervision or Supervision()
        self._clock, self._sleep, self._jitter = clock, sleep, jitter
        self._process = EngineProcess(self._supervision, self.log)
        self._probe = EngineProbe(self._supervision, self.key)
        self._supervisor: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._phase_ends = asyncio.Event()
        self._condemned = ""
        self.state = EngineState("stopped", clock())

    @property
    def pid(self) -> int | None:
        """Process id of the child, while there is one."""
        return self._process.pid

    @property
    def base_url(self) -> str:
        """Root of the OpenAI-compatible interface, ``http://127.0.0.1:PORT/v1``.

        Raises:
            EngineUnavailable: it is not ready; the message says why.
        """
        if self._probe.address is None or self.state.phase != "ready":
            raise self.unavailable()
        return f"{self._probe.address}/v1"

    async def start(self, *, keep_trying: bool = False) -> None:
        """Load the model and return when the engine answers.

        Args:
            keep_trying: also return when it could not be loaded, and try again, less and less often.

        Raises:
            EngineUnavailable: it could not be loaded within ``engine.start_seconds``, with the cause.
        """
        self._probe.open()
        if self.kv_files is not None:
            self.kv_files.prepare()
        self._enter("loading")
        try:
            await self._launch()
        except EngineUnavailable as error:
            self._enter("failed", error.message)
            if not keep_trying:
                await self._probe.close()
                raise
            self._supervisor = asyncio.create_task(self._supervise(str(error)), name="engine supervisor")
            return
        self._supervisor = asyncio.create_task(self._supervise(), name="engine supervisor")

    async def wait_ready(self, timeout_seconds: float) -> None:
        """Return as soon as the engine is ready.

        Raises:
            EngineUnavailable: it was not ready in time, or it is stopped or failed for good.
        """
        if self.state.phase in ("stopped", "failed"):
            raise self.unavailable()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._ready.wait()
        except TimeoutError:
            raise self.unavailable() from None

    @property
    def batch_tokens(self) -> int:
        """Prompt tokens computed at once, at most."""
        return self._settings.batch_tokens or GPU_BATCH

    def condemn(self, reason: str) -> None:
        """Have the child replaced."""
        self._condemned = reason
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)

    async def next_phase(self) -> None:
        """Return when it enters another phase."""
        await self._phase_ends.wait()

    async def stop(self) -> None:
        """End the child: SIGTERM, and SIGKILL if it lingers. Doing it twice does no harm."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        await self._end_child()
        await self._probe.close()
        if self.state.phase != "stopped":
            self._enter("stopped")

    async def _supervise(self, trouble: str = "") -> None:
        """Replace the child whenever it ends.

        Args:
            trouble: why there is none to begin with.
        """
        failures = 0
        while True:
            if not trouble:
                began = self._clock()
                trouble = await self._until_it_ends()
                if self._clock() - began >= self._supervision.stable_after:
                    failures = 0
                self._enter("restarting", trouble)
            failures += 1
            log.warning("the engine is loaded anew: %s", trouble)
            await self._sleep(self._supervision.backoff(failures, self._jitter()))
            if self.state.phase != "restarting":
                self._enter("restarting", trouble)
            try:
                await self._launch()
            except EngineUnavailable as error:
                trouble = str(error)
                self._enter("failed", error.message)  # until the next try: nobody should wait for it
            else:
                trouble = ""
                self.restarts += 1

    async def _until_it_ends(self) -> str:
        """Watch the child until it is gone, killing it when it hangs; say why it is gone."""
        ended = asyncio.create_task(self._process.wait())
        missed, asked = 0, self._clock()
        canary_every = self._settings.canary_seconds or inf
        try:
            while not (await asyncio.wait({ended}, timeout=self._supervision.check_every))[0]:
                missed = 0 if await self.answers() else missed + 1
                if missed >= self._supervision.checks_missed:
                    await self._end_child(signal.SIGKILL)
                    return f"the engine did not answer {missed} health checks in a row"
                if missed == 0 and self._clock() - asked >= canary_every:
                    asked = self._clock()
                    fault = await self._canary_fault()
                    if fault is not None and not ended.done():
                        await self._end_child(signal.SIGKILL)
                        return fault
        finally:
            ended.cancel()
        await self._end_child()
        return self._condemned or f"the engine {self._process.last_exit}"

    async def answers(self) -> bool:
        """Whether it answers a health check in the time allowed."""
        return await self._probe.answers()

    async def _canary_fault(self, *, just_loaded: bool = False) -> str | None:
        """Why its answer to the canary prompt calls for a new load; asked twice, since a call that begins meanwhile
        may change the answer, and not at all while calls are served."""
        canary, fault = self.canary, None
        for _ in range(2):
            if not just_loaded and await self._probe.serves_calls():
                return None
            answer = await self._probe.canary_answer(embeds=self._settings.embeddings)
            canary, fault = self.canary.judge(answer, just_loaded=just_loaded)
            if fault is None:
                break
        self.canary = canary
        return fault

    async def _launch(self) -> None:
        self._condemned = ""
        try:
            self._probe.address = await self._load()
            self.context = await self._probe.context()
            if self._settings.canary_seconds is not None:
                fault = await self._canary_fault(just_loaded=True)
                if fault is not None:
                    raise EngineUnavailable(fault, remedy=f"Its log is {self.log.path}.")
        except BaseException as error:
            self._probe.address = None
            await self._end_child(signal.SIGKILL)
            if isinstance(error, ModelFileError):
                raise EngineUnavailable(error.message, remedy=error.remedy) from error
            if isinstance(error, OSError | RequestError):
                raise EngineUnavailable(f"the engine could not be started: {error}") from error
            raise
        self._enter("ready")

    async def _load(self) -> str:
        """Spawn a child and return the address it reports."""
        name, wait = self.model.name, self._settings.start_seconds
        config = await asyncio.to_thread(self._child_config)
        await self._process.spawn(config)
        try:
            report = await self._process.report(wait)
        except TimeoutError:
            raise EngineUnavailable(
                f"model {name!r} did not load within engine.start_seconds = {wait:g}",
                remedy="Raise it, or choose a smaller model.",
            ) from None
        if report is None:
            await self._end_child()
            raise self._load_failed(f"the engine {self._process.last_exit}")
        if isinstance(report, Ready):
            return report.address
        if report.missing_library:
            raise EngineUnavailable(f"the embedded engine cannot run here: {report.cause}", remedy=NO_LIBRARY)
        await self._end_child()
        raise self._load_failed(report.cause)

    def _load_failed(self, cause: str) -> EngineUnavailable:
        cause = self.log.first_error() or cause
        arithmetic, how = why_no_room(self._settings, self.model, cause)
        see = f"see {self.log.path}"
        return EngineUnavailable(
            f"model {self.model.name!r} ({self.model.path}) could not be loaded: {cause}"
            + (f". {arithmetic}" if arithmetic else ""),
            remedy=f"{how}; {see}." if how else f"Check that the file is sound; {see}.",
        )

    def _child_config(self) -> ChildConfig:
        shape = self.model.shape()
        trained_for = shape.context_length
        self.kv_bytes_per_token = kv_bytes_per_token(self._settings, shape)
        self.cache = cache_size(self._settings, shape, self.model.name, self._demand)
        return ChildConfig(
            model_path=str(self.model.path),
            alias=self.model.name,
            context=min(self._settings.context, trained_for or self._settings.context),
            slots=self.slots,
            threads=self._settings.threads or default_threads(),
            gpu_layers=self._settings.gpu_layers,
            kv_quantisation=self._settings.kv_quantisation,
            cache_ram_mib=self.cache.mib,
            embeddings=self._settings.embeddings,
            batch=self._settings.batch_tokens,
            slot_files=None if self.kv_files is None else str(self.kv_files.folder),
            pools=shape.pooling_type is not None,
            key=self.key,
        )

    async def _end_child(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Make sure the child is gone and gets no more calls."""
        self._ready.clear()
        await self._process.end(how)
        self._probe.address = None

    def _enter(self, phase: Phase, reason: str = "") -> None:
        self.state = EngineState(phase, self._clock(), reason, self._process.last_exit)
        self._phase_ends.set()
        self._phase_ends = asyncio.Event()
        if phase == "ready":
            self._ready.set()
        else:
            self._ready.clear()

    def unavailable(self) -> EngineUnavailable:
        """The error that says why it takes no calls."""
        reason = f": {self.state.reason}" if self.state.reason else ""
        again = self.state.phase in ("loading", "restarting")
        return EngineUnavailable(
            f"the local engine is {'down' if self.state.phase == 'failed' else self.state.phase}{reason}",
            remedy="Try again in a few seconds." if again else f"Its log is {self.log.path}.",
        )
