"""Whether the embedded engine's model fits this machine, as the settings would load it."""

from __future__ import annotations

from breakeven.box.fit import Fit, Verdict, fit, shape_of
from breakeven.box.memory_limit import this_machine
from breakeven.box.models import ModelFile
from breakeven.config import EngineSettings
from breakeven.errors import ModelFileError


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


def finds_room(settings: EngineSettings, answer: Fit) -> bool:
    """Whether it fits with the KV cache that the settings ask for."""
    quantised = settings.kv_quantisation == "q8_0"
    return answer.verdict is Verdict.FITS or (quantised and answer.verdict is Verdict.FITS_Q8_KV)


def remedy(answer: Fit) -> str:
    """What lets it fit."""
    if answer.verdict is Verdict.FITS_Q8_KV:
        return 'Set engine.kv_quantisation = "q8_0", or lower engine.context or engine.slots'
    return "Lower engine.context or engine.slots"


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
