"""The chain of a declared agent: render a prompt, ask, keep the answer under the step's name, write to the sink."""

from __future__ import annotations

from typing import Any

from breakeven.agents import sinks, templates
from breakeven.agents.context import Context
from breakeven.agents.definition import Agent
from breakeven.errors import ItemRejected


def work_through(agent: Agent, context: Context, item: Any) -> None:
    """Take an item through the steps of a declared agent and write what comes of it.

    Raises:
        AgentError: as the steps and the sink do.
    """
    values: dict[str, Any] = {
        "item": {**(item if isinstance(item, dict) else {"text": item}), "key": context.key},
        "run": {"id": context.run, "agent": agent.name},
    }
    for step in agent.steps:
        values[step.name] = context.llm(
            step.name,
            _render(step.prompt, values, f"steps.{step.name}.prompt"),
            schema=step.json_schema,
            task=step.task,
            model=step.model,
            system=step.system,
            max_tokens=step.max_tokens,
        )
    answers = {step.name: values[step.name] for step in agent.steps}
    if agent.sink is not None:
        sinks.write(agent.sink, context, lambda template, where: _render(template, values, where), answers)


def _render(template: str, values: dict[str, Any], where: str) -> str:
    try:
        return templates.render(template, values)
    except KeyError as error:
        raise ItemRejected(
            f"{where}: {{{{ {error.args[0]} }}}} is not there",
            remedy="The item or an answer lacks it: mend the item, or the schema of the step.",
        ) from error
