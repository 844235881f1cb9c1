"""31 agents of a small firm: ten desks of support, seven suppliers' invoices, eight services' logs, six topics of news.

Each wakes every five minutes, somewhere within them, takes one item from its queue through two calls of a model and
writes one row into a database. `prepare.py` makes the table and fills the queues.
"""

from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Session

from breakeven.agents.app import App
from breakeven.agents.context import Context

SUPPORT = (
    "accounts",
    "billing",
    "delivery",
    "printers",
    "networks",
    "returns",
    "training",
    "warranty",
    "feedback",
    "security",
)
SUPPLIERS = ("alpine-paper", "brightwater", "cleanhouse", "dataline", "europower", "fleetwash", "gardenhof")
SERVICES = ("checkout", "search", "mailer", "auth", "backup", "images", "cron", "edge")
TOPICS = ("energy", "health", "transport", "science", "work", "food")

app = App()


class Amount(BaseModel):
    """What an invoice asks for."""

    amount: float
    currency: str


def write(session: Session, agent: str, item: str, label: str, text: str) -> None:
    """One row; in the same transaction as the record that it was written."""
    row = {"agent": agent, "item": item, "label": label, "text": text}
    session.execute(sa.text("INSERT INTO desk (agent, item, label, text) VALUES (:agent, :item, :label, :text)"), row)


def answer(ctx: Context, ticket: dict[str, Any]) -> None:
    """Label a ticket and draft a reply."""
    label = ctx.llm("label", f"One word: calm, angry or urgent?\n{ticket['text']}", task="tag", max_tokens=4)
    reply = ctx.llm("reply", f"Reply in one sentence.\n{ticket['text']}", task="rewrite", max_tokens=24)
    ctx.commit(write, ctx.agent.name, ctx.key, label, reply)


def book(ctx: Context, invoice: dict[str, Any]) -> None:
    """Read the amount of an invoice and say what it is for."""
    found = ctx.llm(
        "amount", f"The amount and its currency.\n{invoice['text']}", schema=Amount, task="extract", max_tokens=40
    )
    what = ctx.llm("what", f"What was bought? Three words.\n{invoice['text']}", task="summarise", max_tokens=12)
    ctx.commit(write, ctx.agent.name, ctx.key, f"{found.amount:g} {found.currency[:8]}", what)


def watch(ctx: Context, line: dict[str, Any]) -> None:
    """Say how bad a log line is and what to look at."""
    label = ctx.llm("severity", f"One word: fine, watch or wake?\n{line['text']}", task="tag", max_tokens=4)
    hint = ctx.llm("hint", f"What to check first, in one line.\n{line['text']}", task="simple-reasoning", max_tokens=20)
    ctx.commit(write, ctx.agent.name, ctx.key, label, hint)


def brief(ctx: Context, headline: dict[str, Any]) -> None:
    """File a headline and put it in other words."""
    label = ctx.llm("file", f"One word: local, national or world?\n{headline['text']}", task="tag", max_tokens=4)
    line = ctx.llm("rewrite", f"Say it in other words.\n{headline['text']}", task="rewrite", max_tokens=24)
    ctx.commit(write, ctx.agent.name, ctx.key, label, line)


for names, work, role in (
    (SUPPORT, answer, "You answer customers of a small shop."),
    (SUPPLIERS, book, "You read invoices for a small shop."),
    (SERVICES, watch, "You watch the servers of a small shop."),
    (TOPICS, brief, "You write the morning news of a small town."),
):
    for name in names:
        app.agent(name, every="5m", spread="auto", batch=1, system=role, model="local", priority="batch")(work)
