"""A valid change takes effect as a whole, an invalid one not at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from breakeven import config
from breakeven.config import Settings
from breakeven.config.watch import LiveSettings
from breakeven.errors import InputError

HOME = {"BREAKEVEN_HOME": "/tmp/books"}


class File:
    """A configuration file whose every change shows in its time of modification."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._changes = 0
        self.write(text)

    def write(self, text: str) -> None:
        self._changes += 1
        self.path.write_text(text, encoding="utf-8")
        os.utime(self.path, (self._changes, self._changes))

    def live(self, adjust: Callable[[Settings], Settings] = lambda settings: settings) -> LiveSettings:
        return LiveSettings(self.path, adjust(config.load(self.path, HOME)), environment=HOME, adjust=adjust)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "breakeven.toml", "[policy]\nretries = 1")


class Heard:
    def __init__(self, refuse: bool = False) -> None:
        self.retries: list[int] = []
        self._refuse = refuse

    async def __call__(self, settings: Settings) -> None:
        if self._refuse:
            raise InputError("providers.p.key = 'env:P': the variable P is not set")
        self.retries.append(settings.policy.retries)


async def looks(live: LiveSettings, *changes: Callable[[], object]) -> None:
    """Watch, with a change before each look at the file."""
    waiting = iter(changes)

    async def next_change(_seconds: float) -> None:
        change = next(waiting, None)
        if change is None:
            raise asyncio.CancelledError
        change()

    sleep: Callable[[float], Awaitable[None]] = next_change
    with pytest.raises(asyncio.CancelledError):
        await live.watch(sleep=sleep)


def test_a_change_is_handed_out_and_then_holds(file: File) -> None:
    async def work() -> None:
        live, heard = file.live(), Heard()
        live.subscribe(heard)

        await looks(live, lambda: file.write("[policy]\nretries = 2"))

        assert heard.retries == [2]
        assert live.current.policy.retries == 2
        assert live.problem is None

    asyncio.run(work())


def test_a_file_that_was_only_touched_is_not_handed_out_again(file: File) -> None:
    async def work() -> None:
        live, heard = file.live(), Heard()
        live.subscribe(heard)
        await looks(live, lambda: file.write("[policy]\nretries = 1"), lambda: None)
        assert heard.retries == []

    asyncio.run(work())


@pytest.mark.parametrize("text", ["[policy]\nretries = -1", "[policy", "[polciy]\nretries = 3"])
def test_an_invalid_file_changes_nothing_and_is_complained_of_once(
    file: File, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        live, heard = file.live(), Heard()
        live.subscribe(heard)

        await looks(live, lambda: file.write(text), lambda: None, lambda: None)

        assert heard.retries == []
        assert live.current.policy.retries == 1
        assert live.problem is not None
        assert "the settings before it hold" in live.problem
        assert len(caplog.records) == 1
        await looks(live, lambda: file.write("[policy]\nretries = 4"))
        assert live.problem is None
        assert live.current.policy.retries == 4

    asyncio.run(work())


def test_a_file_that_is_gone_leaves_what_held(file: File) -> None:
    async def work() -> None:
        live = file.live()
        await looks(live, file.path.unlink)
        assert live.current.policy.retries == 1
        assert live.problem is not None

    asyncio.run(work())


def test_when_one_subscriber_refuses_those_before_it_get_the_old_settings_again(file: File) -> None:
    async def work() -> None:
        live, heard = file.live(), Heard()
        live.subscribe(heard)
        live.subscribe(Heard(refuse=True))
        file.write("[policy]\nretries = 2")

        assert not await live.reload()

        assert heard.retries == [2, 1]
        assert live.current.policy.retries == 1
        assert "P is not set" in (live.problem or "")

    asyncio.run(work())


def test_flags_come_before_the_file_after_a_change_too(file: File) -> None:
    def with_port(settings: Settings) -> Settings:
        return settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"port": 9})})

    async def work() -> None:
        live = file.live(with_port)
        file.write("[gateway]\nport = 10\n[policy]\nretries = 2")
        await live.reload()
        assert live.current.gateway.port == 9
        assert live.at_next_start == ()

    asyncio.run(work())


def test_what_only_a_start_can_change_is_named(file: File) -> None:
    async def work() -> None:
        live = file.live()
        file.write("[gateway]\nport = 10\n[ledger]\nsync = true")
        assert await live.reload()
        assert live.at_next_start == ("ledger", "gateway.port")

    asyncio.run(work())


def test_without_a_file_nothing_changes() -> None:
    async def work() -> None:
        live = LiveSettings(None, config.parse({}))
        await live.watch()
        assert await live.reload()

    asyncio.run(work())
