"""Servers that many use, so that one line of configuration names them: address, dialect, price book, peculiarities."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

ProfileName: TypeAlias = Literal[
    "openai",
    "anthropic",
    "ollama",
    "lm-studio",
    "llama-server",
    "vllm",
    "openrouter",
    "groq",
    "together",
    "deepseek",
    "mistral",
    "gemini",
    "xai",
]


@dataclass(frozen=True, slots=True)
class Profile:
    """Defaults for a `[providers]` entry.

    Attributes:
        base_url / dialect / catalog / responses / omit_fields / max_tokens_field: as in ``ProviderSettings``.
        key: where its API key is looked for unless the entry says otherwise.
    """

    base_url: str
    catalog: str | None = None
    key: str | None = None
    dialect: Literal["openai", "anthropic"] = "openai"
    responses: bool = False
    omit_fields: tuple[str, ...] = ()
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None

    def defaults(self) -> dict[str, Any]:
        """The keys it sets."""
        return {key: value for key, value in asdict(self).items() if value not in (None, (), False)}


PROFILES: dict[ProfileName, Profile] = {
    "openai": Profile(
        "https://api.openai.com/v1",
        "openai",
        "env:OPENAI_API_KEY",
        responses=True,
        max_tokens_field="max_completion_tokens",
    ),
    "anthropic": Profile("https://api.anthropic.com/v1", "anthropic", "env:ANTHROPIC_API_KEY", dialect="anthropic"),
    "ollama": Profile("http://127.0.0.1:11434/v1"),
    "lm-studio": Profile("http://127.0.0.1:1234/v1"),
    "llama-server": Profile("http://127.0.0.1:8080/v1"),
    "vllm": Profile("http://127.0.0.1:8000/v1"),
    "openrouter": Profile("https://openrouter.ai/api/v1", "openrouter", "env:OPENROUTER_API_KEY"),
    # Groq refuses requests that hold these fields.
    "groq": Profile("https://api.groq.com/openai/v1", "groq", "env:GROQ_API_KEY", omit_fields=("metadata", "store")),
    "together": Profile("https://api.together.xyz/v1", "together", "env:TOGETHER_API_KEY"),
    "deepseek": Profile("https://api.deepseek.com/v1", "deepseek", "env:DEEPSEEK_API_KEY"),
    # Mistral refuses fields it does not know; it reports usage in streams without being asked.
    "mistral": Profile(
        "https://api.mistral.ai/v1",
        "mistral",
        "env:MISTRAL_API_KEY",
        omit_fields=("stream_options", "metadata", "store"),
        max_tokens_field="max_tokens",
    ),
    "gemini": Profile(
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "google",
        "env:GEMINI_API_KEY",
        omit_fields=("metadata", "store"),
    ),
    "xai": Profile("https://api.x.ai/v1", "x-ai", "env:XAI_API_KEY"),
}
