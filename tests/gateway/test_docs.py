"""The documentation says what is true: its snippets run, its settings parse, its commands exist."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.gateway.conftest import RunningGateway

from breakeven import config
from breakeven.box.models import ModelFile
from breakeven.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.engine
def test_the_readmes_snippet_streams_an_answer(
    serve: Callable[..., RunningGateway], demo_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = serve({"engine": {"model": str(demo_model.path), "context": 1024, "cache_ram_mib": 64}})
    (snippet,) = blocks(PAGES[0], "python")
    exec(compile(snippet.replace("http://127.0.0.1:4141", gateway.url), "README.md", "exec"), {})
    assert len(capsys.readouterr().out.split()) > 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_shown_in_a_page_are_accepted(page: Path) -> None:
    for block in blocks(page, "toml"):
        document = tomllib.loads(block)
        if set(document) <= set(config.Settings.model_fields):
            config.parse(document)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_in_a_page_exist(page: Path) -> None:
    named = set(re.findall(r"(?:`|bin/|^    )breakeven ([a-z][a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+\.md)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).is_file(), target
