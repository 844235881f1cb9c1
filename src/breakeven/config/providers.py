"""`[providers]` and `[models]`: who answers calls, and the names under which callers ask for it."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from breakeven.config.addresses import is_loopback
from breakeven.config.profiles import PROFILES, Profile, ProfileName
from breakeven.config.section import Capability, SecretReference, Section

CLOUDS = frozenset(
    host for profile in PROFILES.values() if not is_loopback(host := urlsplit(profile.base_url).hostname or "")
)
"""Hosts of the providers that breakeven knows: data that must stay never goes there, whatever a table says."""


def _profile(name: object) -> Profile | None:
    return next((profile for known, profile in PROFILES.items() if known == name), None)


class ProviderSettings(Section):
    """A server that answers calls, local or remote. Servers on loopback count as local unless said otherwise."""

    profile: ProfileName | None = None
    """A server that breakeven knows: sets `base_url`, `dialect`, `catalog`, `key` and peculiarities not given here."""
    base_url: str = Field(default="", pattern=r"^https?://[^\s]+$")
    """Root of its interface, `/v1` included where the server has it. Required without `profile` or `any_llm`."""
    any_llm: str | None = Field(default=None, min_length=1)
    """Its name in any-llm (`bedrock`, `vertexai`, …), for providers that speak neither dialect; takes the optional
    packages of `breakeven[any-llm]` and, where the provider needs more, any-llm's own extra for it."""
    dialect: Literal["openai", "anthropic"] = "openai"
    """What it speaks: OpenAI's chat completions or Anthropic's messages."""
    responses: bool = False
    """Whether it also serves OpenAI's `/responses`."""
    key: SecretReference | None = None
    """Where its API key is kept: `env:VARIABLE` or `keychain:SERVICE/NAME`."""
    keys: tuple[SecretReference, ...] = ()
    """Several keys instead of one: calls take turns, and a key that was limited or refused rests."""
    locality: Literal["local", "remote"] | None = None
    """Whether calls stay on machines you own. By default: `local` for loopback addresses, else `remote`."""
    catalog: str | None = None
    """Its name in the price book, for instance `openai`, `groq`; unset means its calls cost an unknown amount."""
    region: str | None = None
    """Where it processes data, for instance `eu`; shown, not enforced."""
    retention_days: int | None = Field(default=None, ge=0)
    """Days it keeps what it is sent, by contract; 0 for zero retention. Unset: it is assumed to keep it."""
    trains_on_data: bool | None = None
    """Whether it may train on what it is sent. Unset: it is assumed to."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Most requests a minute over all its keys; further calls queue here instead of being turned down there."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Most tokens a minute, prompt and output together."""
    concurrency: int | None = Field(default=None, ge=1)
    """Most calls in flight at once."""
    omit_fields: tuple[str, ...] = ()
    """Top-level fields of requests that this server refuses and that do not change the answer; left out."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The one name under which it takes the limit of output tokens; unset: as the caller sends it."""
    connect_seconds: float = Field(default=5.0, gt=0)
    """Time to connect."""
    first_byte_seconds: float = Field(default=300.0, gt=0)
    """Time from sending a request to the first byte of the answer, model loading included."""
    stall_seconds: float = Field(default=120.0, gt=0)
    """Longest silence within an answer."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_profile(cls, given: Any) -> Any:
        profile = _profile(given.get("profile")) if isinstance(given, dict) else None
        if profile is None:
            return given
        defaults = profile.defaults()
        if "keys" in given or "base_url" in given:
            # The profile's key belongs to the profile's own address and is sent nowhere else unasked.
            defaults.pop("key", None)
        return {**defaults, **given}

    @model_validator(mode="after")
    def _is_complete(self) -> ProviderSettings:
        if not self.base_url and self.any_llm is None:
            raise ValueError("a table with base_url, profile or any_llm")
        if self.key is not None and self.keys:
            raise ValueError("a table with either key or keys")
        if self.locality == "local" and self._host in CLOUDS:
            raise ValueError(f'a table without locality = "local": {self._host} is no machine of yours')
        return self

    @property
    def effective_locality(self) -> Literal["local", "remote"]:
        """Whether its calls stay on machines of the owner, as given or by its address."""
        return self.locality or ("local" if is_loopback(self._host) else "remote")

    @property
    def _host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def key_references(self) -> tuple[str, ...]:
        """Where its keys are kept, none for a server without."""
        return self.keys or ((self.key,) if self.key is not None else ())


class ModelSettings(Section):
    """A name that callers may ask for; the table's name is that name."""

    provider: str
    """Which `[providers]` entry serves it, or `engine` for the embedded one."""
    model: str
    """The name by which that provider knows it."""
    context: int | None = Field(default=None, ge=1)
    """Context window in tokens, where the provider does not tell."""
    max_output_tokens: int | None = Field(default=None, ge=1)
    """Most tokens it generates for one call."""
    capabilities: frozenset[Capability] | None = None
    """What it can do beyond text. Unset: unknown, so it is asked and may refuse."""


class MemberSettings(Section):
    """A member of a pool; the table's name is that of its `[providers]` entry."""

    model: str | None = None
    """The name by which this server knows the model; unset: as in `[models]`."""
    slots: int | None = Field(default=None, ge=1, le=256)
    """Calls it serves at once; unset: what it says itself."""


class PoolSettings(Section):
    """Several servers of your own that serve one model as one box; `[models]` names it as their provider."""

    members: dict[str, MemberSettings] = Field(min_length=1)
    """The servers."""
    wait_seconds: float = Field(default=60.0, gt=0)
    """How long calls wait for a member when none is there."""
