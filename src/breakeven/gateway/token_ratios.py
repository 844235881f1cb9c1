"""How many characters a model's tokens have: learned from calls that were counted, for those that nobody counts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

from breakeven.economics.tokens import TokenCounts

CHARACTERS_PER_TOKEN = 4
"""What English takes with most tokenisers; where learning begins, and what stands where nothing was learned."""
PRIOR_TOKENS = 200
"""How much evidence that assumption is worth."""
MOST_TOKENS = 100_000
"""Beyond this the past counts half, so that a change of the calls is learned."""
FEWEST, MOST = 1, 8
"""Bounds of what is believed of characters to the token; images and hidden reasoning have tokens without any."""

Target: TypeAlias = tuple[str, str]
"""Provider and model."""


@dataclass(slots=True)
class _Ratio:
    characters: float = float(CHARACTERS_PER_TOKEN * PRIOR_TOKENS)
    tokens: float = float(PRIOR_TOKENS)

    def learn(self, characters: int, tokens: int) -> None:
        if not characters or not tokens:
            return
        self.characters += characters
        self.tokens += tokens
        if self.tokens > MOST_TOKENS:
            self.characters /= 2
            self.tokens /= 2

    def estimate(self, characters: int) -> int:
        per_token = min(MOST, max(FEWEST, self.characters / self.tokens))
        return -int(-characters // per_token)


class TokenRatios:
    """One ratio each for the prompts and the output of every target; there are as many as the configuration names.

    >>> ratios, llama = TokenRatios(), ("house", "llama")
    >>> ratios.estimate(llama, 400, 40).input
    100
    >>> ratios.learn(llama, 80_000, 20_000, TokenCounts(uncached_input=40_000, output=10_000))
    >>> ratios.estimate(llama, 400, 40).input
    200
    """

    def __init__(self) -> None:
        self._ratios: defaultdict[Target, tuple[_Ratio, _Ratio]] = defaultdict(lambda: (_Ratio(), _Ratio()))

    def learn(self, target: Target, prompt_characters: int, output_characters: int, counts: TokenCounts) -> None:
        """A provider counted what had so many characters of text."""
        prompt, output = self._ratios[target]
        prompt.learn(prompt_characters, counts.input)
        output.learn(output_characters, counts.output)

    def estimate(self, target: Target, prompt_characters: int, output_characters: int) -> TokenCounts:
        """Counts for a prompt as if nothing of it was cached, and for what arrived of an answer."""
        prompt, output = self._ratios[target]
        return TokenCounts(uncached_input=prompt.estimate(prompt_characters), output=output.estimate(output_characters))
