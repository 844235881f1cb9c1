"""What every table of the configuration file has in common."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict

Capability: TypeAlias = Literal[
    "tools", "hosted_tools", "vision", "audio", "files", "json", "json_schema", "reasoning", "logprobs", "stored_state"
]
"""What a request may need beyond text in and text out."""


def _secret_reference(value: str) -> str:
    scheme, _, name = value.partition(":")
    if scheme == "env" and name:
        return value
    service, _, account = name.partition("/")
    if scheme == "keychain" and service and account:
        return value
    raise ValueError("env:VARIABLE or keychain:SERVICE/NAME; a secret is never written into this file")


SecretReference = Annotated[str, AfterValidator(_secret_reference)]
"""Where a secret is kept, ``env:VARIABLE`` or ``keychain:SERVICE/NAME``; never the secret itself."""


class Section(BaseModel):
    """A table of the file: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
