"""Reads the configuration file as a file: what looks like a secret in it, and who may read it. Never a value."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

from breakeven.box.checkup.facts import Listener, SafetyFacts

SECRETS = {
    "an API key (sk-…)": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "an AWS key": r"\bAKIA[0-9A-Z]{16}\b",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36}",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}",
    "a Groq key": r"\bgsk_[A-Za-z0-9]{40,}",
    "a password in a URL": r"://[^\s:/@\"']+:[^\s:/@\"'$]+@",
    "a key written out": r"(?im)^\s*(?:key|secret|api_key|password|token)\s*=\s*[\"'](?!env:|keychain:)[^\"'\s]{12,}",
}
"""Kinds by their usual form."""


def secrets_in(text: str) -> tuple[str, ...]:
    """Kinds of secrets that the text seems to hold.

    >>> secrets_in('key = "env:OPENAI_API_KEY"')
    ()
    >>> secrets_in('url = "postgresql://desk:hunter2@db/ledger"')
    ('a password in a URL',)
    """
    return tuple(kind for kind, form in SECRETS.items() if re.search(form, text))


def read_safety(
    config_file: Path | None,
    listeners: tuple[Listener, ...] | None,
    *,
    config_error: str | None = None,
    config_remedy: str = "",
) -> SafetyFacts:
    """What lies open."""
    if config_file is None:
        return SafetyFacts(config_error, config_remedy, open_listeners=listeners)
    try:
        mode = config_file.stat().st_mode
        text = config_file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return SafetyFacts(
            config_error or f"{config_file} cannot be read: {error.strerror}", config_remedy, open_listeners=listeners
        )
    by_mode = sys.platform != "win32"  # there, modes say nothing of who may read
    return SafetyFacts(
        config_error=config_error,
        config_remedy=config_remedy,
        config_file=str(config_file),
        secrets_found=secrets_in(text),
        others_may_read=by_mode and bool(mode & (stat.S_IRGRP | stat.S_IROTH)),
        others_may_write=by_mode and bool(mode & (stat.S_IWGRP | stat.S_IWOTH)),
        open_listeners=listeners,
    )
