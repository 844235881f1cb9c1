"""Whether the embedded engine's model fits this machine, as the settings would load it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from breakeven.box.cache_size import CacheSize, PromptDemand, choose_cache_size
from breakeven.box.fit import Fit, Verdict, fit, shape_of
from breakeven.box.gguf import ModelShape
from breakeven.box.memory_limit import host_room, this_machine
from breakeven.box.models import ModelFile
from breakeven.config import EngineSettings
from breakeven.economics.memory import KV_F16_BYTES, KV_Q8_0_BYTES, memory_need
from breakeven.economics.memory import ModelShape as MemoryShape
from breakeven.errors import ModelFileError

log = logging.getLogger(__name__)

MEMORY_WORDS = re.compile("memory|alloc", re.IGNORECASE)
"""In what llama.cpp says when there is too little."""


def engine_fit(settings: EngineSettings, model: ModelFile) -> Fit:
    """By the header of its file.

    Raises:
        ModelFileError: the file is gone, damaged, or does not say how its attention is made.
    """
    shape = shape_of(model.shape(), model.name)
    return fit(
        shape,
        this_machine(gpu_layers=settings.gpu_layers),
        context_tokens=min(settings.context, shape.max_context_tokens),
        slots=settings.slots,
    )


def kv_bytes_per_token(settings: EngineSettings, shape: ModelShape) -> int | None:
    """Keys and values of a token as the settings have them kept; ``None`` where the file does not tell."""
    full = shape.kv_bytes_per_token
    return full if full is None or settings.kv_quantisation == "f16" else round(full * KV_Q8_0_BYTES / KV_F16_BYTES)


def cache_size(settings: EngineSettings, shape: ModelShape, name: str, demand: Callable[[], PromptDemand]) -> CacheSize:
    """The engine's cache of prompts: as set, else by what the agents need and what is free now.

    Args:
        demand: the prompts to keep, asked only when the size is not set.
    """
    if settings.cache_ram_mib != "auto":
        return CacheSize(settings.cache_ram_mib, f"{settings.cache_ram_mib:,} MiB, as engine.cache_ram_mib says")
    try:
        need = _need(settings, shape_of(shape, name))
    except ModelFileError:
        need = shape.tensor_bytes
    room = host_room(need, gpu_layers=settings.gpu_layers)
    chosen = choose_cache_size(demand(), kv_bytes_per_token(settings, shape), room)
    log.info("the cache of prompts gets %s", chosen.says)
    return chosen


def _need(settings: EngineSettings, shape: MemoryShape) -> int:
    return memory_need(
        shape,
        context_tokens=min(settings.context, shape.max_context_tokens),
        slots=settings.slots,
        kv_element_bytes=KV_Q8_0_BYTES if settings.kv_quantisation == "q8_0" else KV_F16_BYTES,
    ).total


def finds_room(settings: EngineSettings, answer: Fit) -> bool:
    """Whether it fits with the KV cache that the settings ask for."""
    quantised = settings.kv_quantisation == "q8_0"
    return answer.verdict is Verdict.FITS or (quantised and answer.verdict is Verdict.FITS_Q8_KV)


def remedy(answer: Fit) -> str:
    """What lets it fit."""
    if answer.verdict is Verdict.FITS_Q8_KV:
        return 'Set engine.kv_quantisation = "q8_0", or lower engine.context or engine.slots'
    return "Lower engine.context or engine.slots"


def why_no_room(settings: EngineSettings, model: ModelFile, cause: str) -> tuple[str, str]:
    """What the arithmetic says to a load that failed, and the remedy; empty when memory has nothing to do with it."""
    try:
        answer = engine_fit(settings, model)
    except ModelFileError:
        return "", ""
    if finds_room(settings, answer) and not MEMORY_WORDS.search(cause):
        return "", ""
    how = f"{remedy(answer)}, or allow it more memory; the arithmetic: breakeven models fit {model.name}"
    return f"{answer.sentence[:-1]} ({answer.capacity.source})", how


def fit_notes(settings: EngineSettings, model: ModelFile) -> list[str]:
    """What a person should know before the model is loaded; nothing when it fits, or when the file does not tell."""
    try:
        answer = engine_fit(settings, model)
    except ModelFileError:
        return []
    if finds_room(settings, answer):
        return []
    arithmetic = f"breakeven models fit {model.name}"
    return [f"The model {model.name!r} may not load. {answer.sentence} {remedy(answer)}; the arithmetic: {arithmetic}"]
