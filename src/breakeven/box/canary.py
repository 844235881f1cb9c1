"""A prompt whose answer is known: whether an engine that answers still computes what it did when it was loaded. Pure.

Greedy decoding of the same few tokens, alone in the engine, gives the same words each time. Other words, or none, mean
damaged memory, a faulty driver or a model that is not the one loaded before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

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


@dataclass(frozen=True, slots=True)
class Canary:
    """What is known of the answer.

    Attributes:
        reference: what the engine answered when it was loaded first; ``None`` before.
        disputed: what it answered instead after the latest load; ``None`` when that agreed.
    """

    reference: str | None = None
    disputed: str | None = None

    def judge(self, answer: str | None, *, just_loaded: bool) -> tuple[Canary, str | None]:
        """What is known after an answer, and why the engine must be loaded anew; ``None`` when all is well.

        Two loads running that agree with each other and not with the reference replace it: then the reference was the
        odd one, and restarting would never end.

        Args:
            answer: ``None`` when there was none in time.
        """
        if not answer:
            return self, "the engine did not answer its canary prompt"
        if self.reference in (None, answer) or (just_loaded and answer == self.disputed):
            return Canary(reference=answer), None
        fault = f"the engine answered its canary prompt with {answer!r} instead of {self.reference!r}"
        return (replace(self, disputed=answer) if just_loaded else self), fault
