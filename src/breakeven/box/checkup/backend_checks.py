"""Checks of the gateway and the model servers."""

from __future__ import annotations

from collections.abc import Iterator

from breakeven.box.cache_size import OUTGROWN, PROMPT_CACHE
from breakeven.box.checkup.facts import AgentFacts, BackendFacts, Facts
from breakeven.box.checkup.finding import Finding, amber, green, red, unknown
from breakeven.box.ollama import FOREVER
from breakeven.box.prefix_watch import PROMPT_PREFIXES
from breakeven.units import GIB

SECONDS_PER_DAY = 86_400
MOST_CUT = 0.95
"""Share of a prompt that must have been read for it not to count as cut off."""


def gateway(facts: Facts) -> Finding:
    """Whether the gateway serves, and if not, what keeps it."""
    seen = facts.gateway
    if not seen.listening:
        return unknown("gateway", f"not running at {seen.address}", "Start it with: breakeven serve")
    if seen.ready is None:
        return red(
            "gateway",
            f"another program holds {seen.address}",
            "Stop that program, or give the gateway another port: gateway.port.",
        )
    if not seen.ready:
        parts = "; ".join(f"{name}: {state}" for name, state in seen.checks.items() if state != "ok")
        return red("gateway", f"running at {seen.address} and not ready: {parts}", "See its log for the part named.")
    degraded = [f"{name}: {state}" for name, state in seen.checks.items() if state.startswith("degraded")]
    if degraded:
        return amber("gateway", f"serving at {seen.address}, {'; '.join(degraded)}", "See its log for the part named.")
    return green("gateway", f"serving at {seen.address}")


def backends(facts: Facts) -> Iterator[Finding]:
    """Each model server, or that there is none."""
    if not facts.backends and not facts.engine_wanted:
        yield red(
            "backend",
            "no model server answers and no engine is configured",
            "Start Ollama, LM Studio, llama-server or vLLM, or run: breakeven serve --model demo",
        )
    if facts.engine_wanted:
        yield engine(facts)
    for backend in facts.backends:
        version = f" {backend.version}" if backend.version else ""
        name = f"{backend.kind}{version} at {backend.address}"
        if backend.model is None:
            yield red("backend", f"{name} has no model", "Pull one there first.")
            continue
        yield green("backend", f"{name} answers")
        yield resident(backend)
        if (finding := offloaded(backend)) is not None:
            yield finding
        yield truncation(backend, facts.ledger.longest_prompt)
        if (finding := keep_alive(backend, facts.ledger.agents)) is not None:
            yield finding


def engine(facts: Facts) -> Finding:
    """The embedded engine lives with the gateway, which says how it stands."""
    state = facts.gateway.checks.get("engine")
    if state is None:
        return unknown("engine", "the embedded engine runs with the gateway, which does not run or does not use it")
    if state == "ready":
        return green("engine", "the embedded engine is ready, its model loaded")
    return red("engine", f"the embedded engine is {state}", "See logs/engine.log in breakeven's folder.")


def resident(backend: BackendFacts) -> Finding:
    """Whether the model is in memory."""
    if backend.loaded is None:
        return unknown("model resident", f"{backend.kind} does not say whether {backend.model} is loaded")
    if not backend.loaded:
        remedy = (
            "Keep it loaded: OLLAMA_KEEP_ALIVE=-1." if backend.kind == "ollama" else "Load it before the first call."
        )
        return amber("model resident", f"{backend.model} is not loaded: the next call waits for it", remedy)
    until = ""
    if backend.keep_alive is not None:
        until = ", for good" if backend.keep_alive == FOREVER else f", until {_span(backend.keep_alive)} after a call"
    return green("model resident", f"{backend.model} is loaded{until}")


def offloaded(backend: BackendFacts) -> Finding | None:
    """A part of the model that the GPU has no room for makes every token slow."""
    size, on_gpu = backend.size_bytes, backend.on_gpu_bytes
    if not size or on_gpu is None or on_gpu >= size or on_gpu == 0:
        return None
    left = size - on_gpu
    return amber(
        "model on GPU",
        f"{left / size:.0%} of {backend.model} ({left / GIB:.1f} GiB) has no room on the GPU and runs on the CPU",
        "Lower the context or the quantisation until it fits: breakeven models fit MODEL.",
    )


def truncation(backend: BackendFacts, longest_prompt: int | None) -> Finding:
    """Whether the server reads whole prompts: what it counted of a probe, and its context against real prompts."""
    check = "context"
    remedy = (
        "Raise num_ctx: OLLAMA_CONTEXT_LENGTH, or PARAMETER num_ctx in a Modelfile; /v1 cannot set it."
        if backend.kind == "ollama"
        else "Raise the server's context."
    )
    probe = backend.probe
    if probe is not None and probe.read_tokens < MOST_CUT * probe.sent_tokens:
        return red(
            check,
            f"{backend.model} read {probe.read_tokens:,} of {probe.sent_tokens:,} tokens sent: {backend.kind} drops the"
            " rest of long prompts without a word",
            remedy,
        )
    if longest_prompt is not None and backend.context is not None and longest_prompt > backend.context:
        return red(
            check,
            f"the context of {backend.model} is {backend.context:,} tokens and prompts of {longest_prompt:,} were sent",
            remedy,
        )
    if probe is not None:
        return green(check, f"{backend.model} read all of {probe.sent_tokens:,} tokens sent")
    if backend.probe_error is not None:
        return red(check, f"a probe of {backend.model} failed: {backend.probe_error}", "Look at that server's log.")
    if backend.context is None:
        return unknown(check, f"{backend.kind} does not say how much context {backend.model} has")
    return green(check, f"{backend.context:,} tokens of context")


def keep_alive(backend: BackendFacts, agents: tuple[AgentFacts, ...]) -> Finding | None:
    """Agents that wake just after the model was dropped make it load each time."""
    kept = backend.keep_alive
    if kept is None or kept == FOREVER:
        return None
    late = [agent for agent in agents if agent.period is not None and agent.period > kept]
    others = [agent for agent in agents if agent.period is not None and agent.period <= kept]
    if not late or others:
        return green("keep-alive", f"a model stays loaded for {_span(kept)} after a call") if agents else None
    period = min(agent.period for agent in late if agent.period is not None)
    loads = round(SECONDS_PER_DAY / period)
    return red(
        "keep-alive",
        f"your {_long(period)} agents reload a {_long(kept)} model up to {loads:,} times a day, and lose their cached"
        " prompts each time",
        "Keep it for longer than they sleep: box.keep_alive_hours of a running breakeven, or OLLAMA_KEEP_ALIVE=24h.",
    )


def memory_fit(facts: Facts) -> Finding | None:
    """Whether the engine's model fits."""
    if facts.fit is None:
        return None
    if facts.fit.fits:
        return green("memory fit", facts.fit.says)
    return red("memory fit", facts.fit.says, facts.fit.remedy)


def prompt_cache(facts: Facts) -> Finding | None:
    """Whether the engine's cache holds the prompts of all agents at work, by what the running gateway says."""
    says = facts.gateway.checks.get(PROMPT_CACHE)
    if says is None:
        return None
    if not says.startswith(OUTGROWN):
        return green(PROMPT_CACHE, says)
    return amber(
        PROMPT_CACHE,
        f"{says.removeprefix(f'{OUTGROWN}: ')}; what it cannot keep goes to disk or is computed again",
        'Restart breakeven with engine.cache_ram_mib = "auto", or set it as high as that.',
    )


def prefixes(facts: Facts) -> Finding | None:
    """Whether agents' prompts change where they should not, by what the running gateway says."""
    says = facts.gateway.checks.get(PROMPT_PREFIXES)
    if says is None:
        return None
    remedy = "Put what changes (a time, a topic) last in the prompt: nothing after the first change is reused."
    return amber(PROMPT_PREFIXES, says, remedy)


def _long(seconds: float) -> str:
    """As a word before a noun: ``6-minute``."""
    size, unit = (3600, "hour") if seconds >= 5400 else (60, "minute") if seconds >= 60 else (1, "second")
    return f"{seconds / size:.3g}-{unit}"


def _span(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.0f} s"
