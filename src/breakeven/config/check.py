"""What a file that is valid may still have wrong: things that only show when calls arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from breakeven.config.secrets import read_secret
from breakeven.config.settings import Settings
from breakeven.errors import InputError

FOUND_AT_START = ("local",)
"""Names that exist without being configured: the engine's model, or that of a server found on this machine."""


def doubts(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    """What is doubtful, a sentence each."""
    yield from _secrets(settings, environment)
    for name, provider in settings.providers.items():
        if (
            provider.base_url.startswith("http://")
            and provider.effective_locality == "remote"
            and provider.key_references
        ):
            yield f"providers.{name}.base_url: its key is sent without encryption; use https://"
        pooled = any(name in pool.members for pool in settings.pools.values())
        if not pooled and not any(model.provider == name for model in settings.models.values()):
            yield f"providers.{name}: no entry in [models] uses it"
    lists = {f"tasks.{name}.models": task.models for name, task in settings.tasks.items()}
    if "auto" in settings.policy.model_fields_set:
        lists["policy.auto"] = settings.policy.auto
    known = {*settings.models, *FOUND_AT_START}
    for key, aliases in lists.items():
        for alias in aliases:
            if alias not in known:
                yield f"{key}: {alias!r} is not in [models]; unless a server on this machine offers it, it is skipped"
    remote = [
        name
        for name, model in settings.models.items()
        if model.provider in settings.providers and settings.providers[model.provider].effective_locality == "remote"
    ]
    labels = {task.data for task in settings.tasks.values()} | {key.data for key in settings.keys.values()}
    if remote and "shareable" not in labels | {settings.policy.default_data}:
        yield (
            f"nothing labels data shareable: calls reach {', '.join(remote)} only when they say "
            "x-breakeven-data: shareable themselves (policy.default_data, tasks.NAME.data, keys.NAME.data)"
        )


def _secrets(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    references = [(f"keys.{name}.secret", key.secret) for name, key in settings.keys.items()]
    for name, provider in settings.providers.items():
        references += [(f"providers.{name}.key", reference) for reference in provider.key_references]
    for key, reference in references:
        try:
            read_secret(key, reference, environment)
        except InputError as error:
            yield str(error)
