"""The simulated cloud: who may ask, what goes wrong, what is admitted, and who is billed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count as counter
from typing import Any

from breakeven.cloudsim import anthropic_messages, dialect, embeddings, openai_chat
from breakeven.cloudsim.anthropic_messages import AnthropicMessages
from breakeven.cloudsim.counters import Counters, Seen, shown_headers
from breakeven.cloudsim.dialect import Dialect, Served
from breakeven.cloudsim.faults import STATUS, Fault, FaultPlan
from breakeven.cloudsim.http import HttpServer, Request
from breakeven.cloudsim.invoice import Invoice, Line, PriceList, key_name
from breakeven.cloudsim.openai_chat import OpenAIChat
from breakeven.cloudsim.openai_responses import OpenAIResponses
from breakeven.cloudsim.order import BadRequest, Json, Order, answer, read_markers
from breakeven.cloudsim.prompt_cache import Lookup, PromptCache, PromptUsage
from breakeven.cloudsim.rate_limits import UNSTATED_OUTPUT, Account, Demand, Headers, Refusal
from breakeven.cloudsim.serving import JSON, Latency, Meter, serve
from breakeven.economics.limits import AccountLimits
from breakeven.errors import InputError

DIALECTS: tuple[Dialect, ...] = (OpenAIChat(), OpenAIResponses(), AnthropicMessages())
EMBEDDINGS = "/v1/embeddings"
COUNT_TOKENS = "/v1/messages/count_tokens"
MODELS = "/v1/models"
UNLIMITED = AccountLimits("unlimited")

_FAULT_MESSAGES = {
    "429": "Rate limit reached on requests per min (RPM). Please try again later.",
    "500": "The server had an error while processing your request.",
    "503": "The engine is currently unavailable, please try again later.",
    "529": "Overloaded",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What the simulated cloud offers.

    Attributes:
        prices: price list of each model that it serves.
        limits: what each key may use of each model.
        latency: how fast its models are.
    """

    prices: Mapping[str, PriceList]
    limits: AccountLimits = UNLIMITED
    latency: Latency = field(default_factory=Latency)


class Cloud:
    """A provider of the OpenAI and of the Anthropic dialect on one port.

    Args:
        terms: what it offers.
        clock: monotonic seconds, for caches and limits.
    """

    def __init__(self, terms: Terms, clock: Callable[[], float] = time.monotonic) -> None:
        self.terms = terms
        self.faults = FaultPlan()
        self.server = HttpServer(self.handle)
        self._clock = clock
        self._numbers = counter(1)
        self._speaks = {speaks.path: speaks for speaks in DIALECTS}
        self._background: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.reset()

    def reset(self) -> None:
        """Forget invoice, counters, caches, limits and faults; doing so twice is as doing so once."""
        self.invoice = Invoice(self.terms.prices)
        self.counters = Counters()
        self.faults.clear()
        self.cache = PromptCache(self._clock)
        self._accounts: dict[tuple[str, str], Account] = {}

    async def handle(self, request: Request) -> None:
        """Answer one request."""
        if request.path.startswith("/_sim/"):
            await self._control(request)
            return
        counters = self.counters
        counters.in_flight += 1
        self._idle.clear()
        try:
            await self._answer(request)
        finally:
            counters.in_flight -= 1
            if not self.counters.in_flight:
                self._idle.set()

    def account(self, key: str, model: str) -> Account:
        """The rate limits of a key at a model."""
        found = self._accounts.get((key, model))
        if found is None:
            found = self._accounts[key, model] = Account(self.terms.limits, self._clock)
        return found

    def look_up(self, provider: str, key: str, order: Order) -> Lookup:
        """What the prompt finds in the provider's kind of cache."""
        owner = f"{provider}/{key}/{order.model}"
        return (self.cache.marked if provider == "anthropic" else self.cache.automatic)(owner, order.blocks)

    def refuse_connections(self, seconds: float) -> None:
        """Close the listener for a while."""
        task = asyncio.get_running_loop().create_task(self.server.refuse(seconds))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Stop serving."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.server.close()

    def _note(self, request: Request, key: str | None, document: Json | None) -> None:
        body = document or {}
        metadata = body.get("metadata")
        user = body.get("user") or (metadata.get("user_id") if isinstance(metadata, dict) else None)
        model, shown = body.get("model"), shown_headers(request.headers)
        self.counters.note(
            Seen(
                method=request.method,
                path=request.path,
                query=request.query,
                key=key,
                model=model if isinstance(model, str) else None,
                user=user if isinstance(user, str) else None,
                headers=shown,
                fields=tuple(sorted(body)),
            )
        )

    async def _answer(self, request: Request) -> None:
        provider = "anthropic" if "anthropic-version" in request.headers else "openai"
        speaks = self._speaks.get(request.path)
        provider = speaks.provider if speaks else "anthropic" if request.path == COUNT_TOKENS else provider
        secret = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        key = key_name(secret) if secret else None
        document = _document(request.body)
        self._note(request, key, document)
        exchange = _Exchange(self, request, provider, speaks, key or "", f"req_{next(self._numbers):024x}")
        if request.method in ("GET", "HEAD"):
            await exchange.look(key)
        elif key is None:
            await exchange.refuse(401, "You didn't provide an API key.", "invalid_api_key")
        elif document is None:
            await exchange.refuse(400, "We could not parse the JSON body of your request.", None)
        else:
            try:
                await exchange.post(document)
            except BadRequest as error:
                await exchange.refuse(400, str(error), "invalid_value", error.param)

    async def _control(self, request: Request) -> None:
        """``/_sim/``: what was billed and counted, faults to order, a new start."""
        status, shown = 200, dict[str, Any]()
        match request.method, request.path:
            case "GET", "/_sim/invoice":
                shown = self.invoice.document()
            case "GET", "/_sim/requests":
                shown = self.counters.document()
            case "GET", "/_sim/idle":
                await self._idle.wait()
            case "GET", "/_sim/faults":
                shown = self.faults.document()
            case "POST", "/_sim/faults":
                ordered = _document(request.body) or {}
                try:
                    self.faults.order(
                        queue=ordered.get("queue"),
                        probabilities=ordered.get("probabilities"),
                        seed=ordered.get("seed", 0),
                    )
                    shown = self.faults.document()
                except InputError as error:
                    status, shown = 400, {"error": {"message": str(error)}}
            case "DELETE", "/_sim/faults":
                self.faults.clear()
            case "POST", "/_sim/reset":
                self.reset()
            case _:
                status, shown = 404, {"error": {"message": f"no {request.method} {request.path}"}}
        await request.answer(status, dialect.encode(shown), [JSON])


class _Exchange:
    """One request of a provider's own interface and what is answered to it."""

    def __init__(
        self, cloud: Cloud, request: Request, provider: str, speaks: Dialect | None, key: str, request_id: str
    ) -> None:
        self._cloud = cloud
        self._request = request
        self._provider = provider
        self._speaks = speaks
        self._key = key
        self._id = request_id

    async def look(self, key: str | None) -> None:
        """GET and HEAD: the models, and the probes that clients make before they send anything."""
        if self._request.path in ("/", "/api/hello", "/v1"):
            await self._answer(200, {"message": "hello"})
        elif self._request.path.startswith(MODELS):
            if key is None:
                await self.refuse(401, "You didn't provide an API key.", "invalid_api_key")
                return
            name = self._request.path.removeprefix(MODELS).strip("/")
            entries = {model: self._model(model) for model in self._cloud.terms.prices}
            if not name:
                listed = {"object": "list", "data": list(entries.values()), "has_more": False}
                await self._answer(200, {**listed, "first_id": None, "last_id": None})
            elif name in entries:
                await self._answer(200, entries[name])
            else:
                await self._unknown_model(name)
        else:
            await self.refuse(404, f"Invalid URL ({self._request.method} {self._request.path})", None)

    async def post(self, document: Json) -> None:
        """The endpoints that generate, embed or count.

        Raises:
            BadRequest
        """
        if self._speaks is None and self._request.path not in (EMBEDDINGS, COUNT_TOKENS):
            await self.refuse(404, f"Invalid URL (POST {self._request.path})", None)
            return
        fault = self._fault(document)
        if fault is not None:
            self._cloud.counters.by_fault[fault.kind] += 1
            if fault.kind in STATUS:
                retry = [] if fault.number is None else [("retry-after", f"{fault.number:g}")]
                code = "rate_limit_exceeded" if fault.kind == "429" else "server_error"
                await self.refuse(STATUS[fault.kind], _FAULT_MESSAGES[fault.kind], code, headers=retry)
                return
            if fault.kind == "refuse":
                self._cloud.refuse_connections(fault.number or 0)
                self._request.cut()
                return
            if fault.kind == "slow":
                await self._request.pause(fault.number or 0)
        model = dialect.require_model(document)
        if model not in self._cloud.terms.prices:
            await self._unknown_model(model)
        elif self._request.path == COUNT_TOKENS:
            order = anthropic_messages.read_prompt(document)
            await self._answer(200, {"input_tokens": order.prompt_tokens})
        elif self._speaks is None:
            await self._embed(document, model, fault)
        else:
            await self._generate(self._speaks, document, fault)

    async def refuse(
        self, status: int, message: str, code: str | None, param: str | None = None, headers: Headers | None = None
    ) -> None:
        """An error in the provider's own shape; never billed."""
        if self._provider == "anthropic":
            body = anthropic_messages.anthropic_error(status, message, self._id)
        else:
            body = openai_chat.openai_error(status, message, code, param)
        await self._answer(status, body, headers)

    async def _generate(self, speaks: Dialect, document: Json, fault: Fault | None) -> None:
        order = speaks.read(document)
        account = self._cloud.account(self._key, order.model)
        answers = [answer(order, choice) for choice in range(order.choices)]
        generated = sum(choice.output_tokens for choice in answers)
        lookup = self._cloud.look_up(self._provider, self._key, order)
        prompt = lookup.usage
        if self._provider == "anthropic":
            demand = Demand(prompt.total - prompt.cache_read, 0)
        else:
            demand = Demand(prompt.total, order.max_output or max(UNSTATED_OUTPUT, generated))
        if refusal := account.admit(demand):
            await self._limited(order.model, account, refusal)
            return
        self._cloud.cache.keep(lookup)
        served = Served(
            request_id=self._id,
            created=int(time.time()),
            order=order,
            document=document,
            prompt=prompt,
            answers=answers,
            report_usage=fault is None or fault.kind != "no-usage",
        )

        def bill(output: int, complete: bool) -> None:
            account.generated(output)
            self._bill(order.model, order.user, prompt, output, complete=complete)

        headers = self._headers(account)
        self._cloud.counters.by_status[200] += 1
        await serve(self._request, speaks, served, headers, Meter(bill), self._cloud.terms.latency, fault)

    async def _embed(self, document: Json, model: str, fault: Fault | None) -> None:
        texts = embeddings.read_texts(document)
        tokens = embeddings.count_input(texts)
        account = self._cloud.account(self._key, model)
        if refusal := account.admit(Demand(tokens, 0)):
            await self._limited(model, account, refusal)
            return
        kind = fault.kind if fault is not None else ""
        body = dialect.encode(embeddings.answer(document, texts, tokens, report_usage=kind != "no-usage"))
        self._bill(model, dialect.string_of(document.get("user")), PromptUsage(tokens), 0, complete=kind != "truncated")
        if kind in ("cut", "stall"):
            self._request.cut()
            return
        half = body[: len(body) // 2] if kind == "truncated" else body
        self._cloud.counters.by_status[200] += 1
        await self._request.answer(
            200, half, [JSON, *self._headers(account)], promise=len(body) if half != body else None
        )

    def _bill(self, model: str, user: str | None, prompt: PromptUsage, output: int, *, complete: bool) -> None:
        counters = self._cloud.counters
        counters.input_tokens += prompt.total
        counters.output_tokens += output
        self._cloud.invoice.add(
            Line(
                request_id=self._id,
                at=time.time(),
                key=self._key,
                provider=self._provider,
                model=model,
                endpoint=self._request.path,
                user=user,
                uncached_input=prompt.uncached,
                cache_read=prompt.cache_read,
                cache_write_5m=prompt.cache_write_5m,
                cache_write_1h=prompt.cache_write_1h,
                output=output,
                micro_usd=self._cloud.terms.prices[model].micro_usd(prompt, output),
                complete=complete,
            )
        )

    async def _limited(self, model: str, account: Account, refusal: Refusal) -> None:
        seconds = max(0.001, refusal.seconds)
        names = {"RPM": "requests", "TPM": "tokens", "ITPM": "input tokens", "OTPM": "output tokens"}
        if self._provider == "anthropic":
            message = (
                f"This request would exceed your organization's rate limit of {refusal.per_minute:,} "
                f"{names[refusal.limit]} per minute ({model})."
            )
        else:
            message = (
                f"Rate limit reached for {model} on {names[refusal.limit]} per min ({refusal.limit}): "
                f"Limit {refusal.per_minute}, Used {refusal.used}, Requested {refusal.requested}. "
                f"Please try again in {seconds:.3f}s."
            )
        wait = [("retry-after", str(-int(-seconds // 1)))]
        if self._provider == "openai":
            wait.append(("retry-after-ms", str(-int(-seconds * 1000 // 1))))
        await self.refuse(429, message, "rate_limit_exceeded", headers=[*wait, *self._limits(account)])

    async def _unknown_model(self, name: str) -> None:
        said = f"model: {name}" if self._provider == "anthropic" else f"The model `{name}` does not exist"
        await self.refuse(404, said, "model_not_found", "model")

    async def _answer(self, status: int, body: Json, headers: Headers | None = None) -> None:
        self._cloud.counters.by_status[status] += 1
        await self._request.answer(status, dialect.encode(body), [JSON, *self._headers(None), *(headers or [])])

    def _headers(self, account: Account | None) -> Headers:
        if self._provider == "anthropic":
            named: Headers = [("request-id", self._id), ("anthropic-organization-id", "org-simulated")]
        else:
            named = [
                ("x-request-id", self._id),
                ("openai-version", "2020-10-01"),
                ("openai-organization", "org-simulated"),
                ("openai-processing-ms", "1"),
            ]
        return named if account is None else [*named, *self._limits(account)]

    def _limits(self, account: Account) -> Headers:
        return account.headers(self._provider, time.time())

    def _fault(self, document: Json) -> Fault | None:
        model = str(document.get("model"))
        text = self._request.headers.get("x-sim-fault")
        if text is None and "+" in model:
            text = model.split("+", 1)[1]
        if text is None:
            text = _marked_fault(document)
        if text is None:
            return self._cloud.faults.next()
        try:
            return Fault.parse(text)
        except InputError as error:
            raise BadRequest(str(error)) from error

    def _model(self, name: str) -> Json:
        if self._provider == "anthropic":
            return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
        return {"id": name, "object": "model", "created": 1767225600, "owned_by": "simulated"}


def _document(body: bytes) -> Json | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _marked_fault(document: Json) -> str | None:
    turns = document.get("messages") or document.get("input")
    last = turns[-1] if isinstance(turns, list) and turns else turns
    return read_markers(json.dumps(last)).get("fault") if last else None
