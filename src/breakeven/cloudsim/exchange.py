"""One request at the simulated cloud: refused, failed on order, or admitted, answered and billed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from breakeven.cloudsim import anthropic_messages, dialect, embeddings, openai_chat
from breakeven.cloudsim.dialect import Dialect, Served
from breakeven.cloudsim.faults import STATUS, Fault
from breakeven.cloudsim.http import HttpServer, Request
from breakeven.cloudsim.invoice import Line
from breakeven.cloudsim.order import BadRequest, Json, Order, answer, read_markers
from breakeven.cloudsim.prompt_cache import PromptUsage
from breakeven.cloudsim.rate_limits import UNSTATED_OUTPUT, Account, Demand, Headers, Refusal
from breakeven.cloudsim.serving import HTML, JSON, Meter, serve
from breakeven.cloudsim.state import State
from breakeven.errors import InputError

EMBEDDINGS = "/v1/embeddings"
COUNT_TOKENS = "/v1/messages/count_tokens"
MODELS = "/v1/models"

_FAULT_MESSAGES = {
    "429": "Rate limit reached on requests per min (RPM). Please try again later.",
    "500": "The server had an error while processing your request.",
    "503": "The engine is currently unavailable, please try again later.",
    "529": "Overloaded",
}


class Exchange:
    """One request of a provider's own interface and what is answered to it."""

    def __init__(
        self,
        state: State,
        server: HttpServer,
        request: Request,
        provider: str,
        speaks: Dialect | None,
        key: str,
        request_id: str,
    ) -> None:
        self._state = state
        self._server = server
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
            entries = {model: self._model(model) for model in self._state.terms.prices}
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
            self._state.counters.by_fault[fault.kind] += 1
            if fault.kind in STATUS:
                retry = [] if fault.number is None else [("retry-after", f"{fault.number:g}")]
                code = "rate_limit_exceeded" if fault.kind == "429" else "server_error"
                await self.refuse(STATUS[fault.kind], _FAULT_MESSAGES[fault.kind], code, headers=retry)
                return
            if fault.kind == "refuse":
                self._server.refuse(fault.number or 0)
                self._request.cut()
                return
            if fault.kind == "slow":
                await self._request.pause(fault.number or 0)
        model = dialect.require_model(document)
        if model not in self._state.terms.prices:
            await self._unknown_model(model)
        elif self._request.path == COUNT_TOKENS:
            order = _read(anthropic_messages.read_prompt, document)
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
        order = _read(speaks.read, document)
        account = self._state.account(self._key, order.model)
        answers = [answer(order, choice) for choice in range(order.choices)]
        generated = sum(choice.output_tokens for choice in answers)
        lookup = self._state.look_up(self._provider, self._key, order)
        prompt = lookup.usage
        if self._provider == "anthropic":
            demand = Demand(prompt.total - prompt.cache_read, 0)
        else:
            demand = Demand(prompt.total, order.max_output or max(UNSTATED_OUTPUT, generated))
        if refusal := account.admit(demand):
            await self._limited(order.model, account, refusal)
            return
        self._state.cache.keep(lookup)
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
        self._state.counters.by_status[200] += 1
        await serve(self._request, speaks, served, headers, Meter(bill), self._state.terms.latency, fault)

    async def _embed(self, document: Json, model: str, fault: Fault | None) -> None:
        texts = embeddings.read_texts(document)
        tokens = embeddings.count_input(texts)
        account = self._state.account(self._key, model)
        if refusal := account.admit(Demand(tokens, 0)):
            await self._limited(model, account, refusal)
            return
        kind = fault.kind if fault is not None else ""
        body = dialect.encode(embeddings.answer(document, texts, tokens, report_usage=kind != "no-usage"))
        complete = kind not in ("cut", "stall", "truncated")
        self._bill(model, dialect.string_of(document.get("user")), PromptUsage(tokens), 0, complete=complete)
        self._state.counters.by_status[200] += 1
        headers = [HTML if kind == "content-type" else JSON, *self._headers(account)]
        if kind == "cut":
            self._request.cut()
        elif kind == "stall":
            await self._request.until_gone()
        elif kind == "truncated":
            await self._request.answer(200, body[: len(body) // 2], headers, promise=len(body))
        else:
            await self._request.answer(200, body, headers)

    def _bill(self, model: str, user: str | None, prompt: PromptUsage, output: int, *, complete: bool) -> None:
        counters = self._state.counters
        counters.input_tokens += prompt.total
        counters.output_tokens += output
        self._state.invoice.add(
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
                micro_usd=self._state.terms.prices[model].micro_usd(prompt, output),
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
        self._state.counters.by_status[status] += 1
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
            return self._state.faults.next()
        try:
            return Fault.parse(text)
        except InputError as error:
            raise BadRequest(str(error)) from error

    def _model(self, name: str) -> Json:
        if self._provider == "anthropic":
            return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
        return {"id": name, "object": "model", "created": 1767225600, "owned_by": "simulated"}


def _read(read: Callable[[Json], Order], document: Json) -> Order:
    """Read a request; one whose parts are of other types than the dialect's is a bad request like any other."""
    try:
        return read(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"the request is not what this endpoint takes: {error}") from error


def _marked_fault(document: Json) -> str | None:
    turns = document.get("messages") or document.get("input")
    last = turns[-1] if isinstance(turns, list) and turns else turns
    return read_markers(json.dumps(last)).get("fault") if last else None
