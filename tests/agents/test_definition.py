"""Definitions are checked before anything runs; what is wrong is said in one line with file, key and remedy."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from breakeven.agents.app import App, budgets_missing, load_folder
from breakeven.agents.context import Context
from breakeven.agents.definition import load
from breakeven.config.accounts import BudgetSettings
from breakeven.errors import AgentDefinitionError, InputError

WHOLE = """
every = "*/5 * * * *"
zone = "Europe/Zurich"
spread = "auto"
batch = 5
parallel = 2
budget = "$0.50/day"
priority = "batch"
data = "local_only"
system = "You sort the mail of a small firm."

[source]
kind = "folder"
path = "inbox"
pattern = "*.txt"

[[steps]]
name = "classify"
prompt = "Label: {{ item.text }}"
task = "tag"
[steps.schema]
type = "object"
required = ["topic"]
properties = { topic = { type = "string" } }

[[steps]]
name = "draft"
prompt = "Answer ({{ classify.topic }}): {{ item.text }}"

[sink]
kind = "table"
table = "replies"
columns = { topic = "{{ classify.topic }}", reply = "{{ draft }}" }
"""


def written(tmp_path: Path, text: str, name: str = "triage.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_definition(tmp_path: Path) -> None:
    agent = load(written(tmp_path, WHOLE))
    assert agent.name == "triage"
    assert agent.budget is not None
    assert (agent.budget.usd, agent.budget.per) == (Decimal("0.50"), "day")
    assert agent.schedule is not None
    assert agent.schedule.zone == "Europe/Zurich"
    assert [step.name for step in agent.steps] == ["classify", "draft"]


STEP = '[[steps]]\nname = "a"\nprompt = "p"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'every = "sometimes"\n{STEP}', "every = 'sometimes': expected a cron expression of five fields"),
        (f'zone = "Mars/Base"\n{STEP}', "zone = 'Mars/Base': expected a time zone such as"),
        (f"paralel = 4\n{STEP}", "paralel = 4: expected no such key"),
        (f"batch = 0\n{STEP}", "batch = 0: expected greater than or equal to 1"),
        (
            f'budget = "50 cents"\n{STEP}',
            """budget = '50 cents': expected money per day or month, such as "$0.50/day\"""",
        ),
        (f'overlap = "maybe"\n{STEP}', "overlap = 'maybe': expected 'skip', 'queue' or 'cancel'"),
        ('[[steps]]\nname = "a"\nprompt = "{{ itm.text }}"\n', "steps.a.prompt"),
        ('[[steps]]\nname = "a"\nprompt = "p"\nschema = { type = "wrong" }\n', "steps.0.schema"),
        (
            f'{STEP}[sink]\nkind = "table"\ntable = "a; drop"\ncolumns = {{}}\n',
            "sink.table = 'a; drop': expected a plain name",
        ),
        (f'{STEP}[source]\nkind = "carrier-pigeon"\n', "source"),
        ('every = "5m"\n', "steps = None: expected at least one [[steps]] table"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(AgentDefinitionError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_toml_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not valid TOML"):
        load(written(tmp_path, "every = = 1"))


def test_a_folder_mixes_files_and_python(tmp_path: Path) -> None:
    written(tmp_path, WHOLE)
    module = "from breakeven.agents.app import App\napp = App()\n@app.agent('second')\ndef second(ctx):\n    ...\n"
    written(tmp_path, module, "more.py")
    assert sorted(load_folder(tmp_path).members) == ["second", "triage"]


def test_two_agents_of_one_name(tmp_path: Path) -> None:
    written(tmp_path, WHOLE)
    written(tmp_path, f'name = "triage"\n{STEP}', "other.toml")
    with pytest.raises(AgentDefinitionError, match=r"other\.toml|triage\.toml"):
        load_folder(tmp_path)


def test_a_module_that_fails_is_named(tmp_path: Path) -> None:
    written(tmp_path, "1 / 0\n", "broken.py")
    with pytest.raises(InputError, match=r"broken\.py fails when it is imported: ZeroDivisionError"):
        load_folder(tmp_path)


def test_a_python_agent_with_a_wrong_key_is_told_where(tmp_path: Path) -> None:
    app = App()
    with pytest.raises(
        AgentDefinitionError, match=r"test_definition\.py: agent 'odd': retires = 3: expected no such key"
    ):

        @app.agent("odd", retires=3)
        def odd(ctx: Context) -> None: ...


def test_budgets_that_nobody_holds_are_spelt_out(tmp_path: Path) -> None:
    written(tmp_path, WHOLE)
    fleet = load_folder(tmp_path).members
    assert budgets_missing(fleet, {}) == '[budgets.triage]\nusd = "0.50"\nper = "day"\nagent = "triage"\n'
    held = {"x": BudgetSettings.model_validate({"usd": "0.40", "per": "day", "agent": "triage"})}
    assert budgets_missing(fleet, held) is None
