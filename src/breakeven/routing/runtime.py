"""What routing remembers between calls, and keeps when the configuration changes under it."""

from __future__ import annotations

from breakeven.config import ProviderSettings, Settings
from breakeven.routing.backoff import RetryPolicy
from breakeven.routing.breaker import BreakerPolicy, Breakers, Clock, Peers
from breakeven.routing.gates import load_check
from breakeven.routing.limits import Limiters, Limits


class Runtime:
    """Breakers and limiters of one gateway process.

    Attributes:
        retry: how failures are met, as configured now.

    Raises:
        InputError: when a task's gate names a function that cannot be found.
    """

    def __init__(self, settings: Settings, clock: Clock, peers: Peers | None = None) -> None:
        load_checks(settings)
        self.breakers = Breakers(BreakerPolicy.of(settings.policy), clock=clock, peers=peers)
        self.limiters = Limiters(clock)
        self.retry = RetryPolicy.of(settings.policy)
        self._settings = settings
        self.limiters.reconfigure(_limits(settings), lambda _: True)

    def reconfigure(self, settings: Settings) -> None:
        """Take on new settings. A provider that stays at its address with its keys keeps what is known of it.

        Raises:
            InputError: as when it was made; then nothing has changed.
        """
        load_checks(settings)
        before = self._settings.providers
        same = {name for name, now in settings.providers.items() if _identity(before.get(name)) == _identity(now)}
        gone = {*before, *settings.providers} - same
        self.breakers.reconfigure(BreakerPolicy.of(settings.policy), lambda target: target[0] not in gone)
        self.limiters.reconfigure(_limits(settings), lambda name: name not in gone)
        self.retry = RetryPolicy.of(settings.policy)
        self._settings = settings


def load_checks(settings: Settings) -> None:
    """Import the functions that gates name now, rather than while a call waits for the verdict.

    Raises:
        InputError: when one cannot be found.
    """
    for task in settings.tasks.values():
        if task.gates.check is not None:
            load_check(task.gates.check)


def _identity(provider: ProviderSettings | None) -> object:
    return None if provider is None else (provider.base_url, provider.dialect, provider.key_references)


def _limits(settings: Settings) -> dict[str, Limits]:
    return {name: Limits.of(provider) for name, provider in settings.providers.items()}
