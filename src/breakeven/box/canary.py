"""A prompt whose answer is known: whether an engine that answers still computes what it did when it was loaded. Pure.

Greedy decoding of the same few tokens, alone in the engine, gives the same words each time, and the same text the same
vector, but for the order in which sums are made. Others, or none, mean damaged memory, a faulty driver or a model that
is not the one loaded before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot
from types import MappingProxyType
from typing import TypeAlias

Answer: TypeAlias = str | tuple[float, ...]
"""Words, or a text's vector."""

REQUEST = MappingProxyType(
    {
        "prompt": "The days of the week are Monday, Tuesday,",
        "n_predict": 8,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,  # what is left in a slot changes how the prompt is cut into batches
    }
)
"""For llama.cpp's ``/completion``."""
TEXT = MappingProxyType({"input": "The days of the week are Monday, Tuesday, Wednesday and four more."})
"""For ``/v1/embeddings``."""
LARGEST_DISTANCE = 1e-3
"""Between two vectors of one text, as 1 less the cosine of their angle. On a CPU other batches and threads change the
last digits only; the rest is room for GPUs, whose sums come in any order."""


@dataclass(frozen=True, slots=True)
class Canary:
    """What is known of the answer.

    Attributes:
        reference: what the engine answered when it was loaded first; ``None`` before.
        disputed: what it answered instead after the latest load; ``None`` when that agreed.
    """

    reference: Answer | None = None
    disputed: Answer | None = None

    def judge(self, answer: Answer | None, *, just_loaded: bool) -> tuple[Canary, str | None]:
        """What is known after an answer, and why the engine must be loaded anew; ``None`` when all is well.

        Two loads running that agree with each other and not with the reference replace it: then the reference was the
        odd one, and restarting would never end.

        Args:
            answer: ``None`` when there was none in time.
        """
        if not answer:
            return self, "the engine did not answer its canary prompt"
        if self.reference is not None and _alike(answer, self.reference):
            return Canary(self.reference), None
        if self.reference is None or (just_loaded and self.disputed is not None and _alike(answer, self.disputed)):
            return Canary(answer), None
        fault = f"the engine answered its canary prompt with {_shown(answer)} instead of {_shown(self.reference)}"
        return (replace(self, disputed=answer) if just_loaded else self), fault


def vector(numbers: Sequence[float | None]) -> tuple[float, ...] | None:
    """An answer of ``/v1/embeddings``; none where a number is none, as JSON has what is not a number."""
    known = tuple(number for number in numbers if number is not None)
    return known if len(known) == len(numbers) else None


def _alike(one: Answer, other: Answer) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return len(one) == len(other) and _distance(one, other) <= LARGEST_DISTANCE


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    lengths = hypot(*one) * hypot(*other)
    return 1 - sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 1.0


def _shown(answer: Answer) -> str:
    if isinstance(answer, str):
        return repr(answer)
    return f"a vector of {len(answer)} that begins {', '.join(f'{number:.4g}' for number in answer[:3])}"
