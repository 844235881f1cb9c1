"""One question fanned out over forty topics, and one page made of the answers."""

from pathlib import Path
from typing import Any

from breakeven.agents.app import App
from breakeven.agents.context import Context

QUESTION = "You are a historian of trade. In one sentence: how did it first travel between continents?"

app = App()


def ask(ctx: Context, topic: str) -> str:
    """One topic, in a branch of its own; all share the question as a prefix that the box computes once."""
    return ctx.llm("ask", topic, max_tokens=24)


def write(path: str, text: str) -> str:
    """Write the page whole; written again, it replaces itself."""
    target = Path(path)
    target.with_suffix(".part").write_text(text, encoding="utf-8")
    target.with_suffix(".part").replace(target)
    return path


@app.agent("research", source={"kind": "queue"}, model="local", task="simple-reasoning", priority="batch")
def research(ctx: Context, order: dict[str, Any]) -> None:
    """Ask about all topics, eight at once, and merge what came back; what failed is named at the end."""
    topics = [line for line in Path(order["topics"]).read_text(encoding="utf-8").splitlines() if line]
    fanned = ctx.map(ask, topics[: order.get("most", 40)], parallel=8, prefix=QUESTION)
    found = "\n".join(f"- **{branch.part}**: {' '.join(str(branch.value).split())}" for branch in fanned.succeeded)
    title = ctx.llm("title", f"A title of five words for:\n{found[:600]}", max_tokens=12)
    missing = "".join(f"\n- {branch.part}: {branch.error}" for branch in fanned.failed)
    page = f"# {' '.join(title.split())}\n\n{found}\n" + (f"\nWithout an answer:{missing}\n" if missing else "")
    ctx.step(write, order["page"], page)
