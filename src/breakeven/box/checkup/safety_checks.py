"""Checks of what lies open: configuration, secrets in files, ports."""

from __future__ import annotations

from breakeven.box.checkup.facts import Facts
from breakeven.box.checkup.finding import Finding, amber, green, red, unknown


def configuration(facts: Facts) -> Finding:
    """Whether the configuration can be used."""
    safety = facts.safety
    if safety.config_error is not None:
        return red("configuration", safety.config_error, safety.config_remedy or "Mend that key.")
    return green("configuration", safety.config_file or "no file: the defaults hold")


def secrets(facts: Facts) -> Finding:
    """Secrets belong into the environment or the keychain."""
    safety = facts.safety
    if safety.config_file is None:
        return green("secrets", "no configuration file that could hold any")
    if safety.secrets_found:
        who = ", and every user of this machine can read it" if safety.others_may_read else ""
        return red(
            "secrets",
            f"{safety.config_file} seems to hold {', '.join(safety.secrets_found)}{who}",
            "Replace it by env:VARIABLE or keychain:SERVICE/NAME, and make that key void: it may have been read.",
        )
    if safety.others_may_write:
        return red(
            "secrets",
            f"every user of this machine can change {safety.config_file}, and so where calls and keys go",
            f"chmod go-w {safety.config_file}",
        )
    return green("secrets", "none in the configuration file")


def ports(facts: Facts) -> Finding:
    """A model server that others reach is used past the ledger."""
    listeners = facts.safety.open_listeners
    if listeners is None:
        return unknown("ports", "which programs listen cannot be told without more rights")
    if listeners:
        named = ", ".join(f"{one.program} on {one.address}:{one.port}" for one in listeners)
        return amber(
            "ports",
            f"other machines can use {named}, past the keys and the ledger",
            "Bind it to 127.0.0.1 (Ollama: OLLAMA_HOST=127.0.0.1), and let others come through the gateway.",
        )
    return green("ports", "no model server listens beyond this machine")
