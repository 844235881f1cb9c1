"""The error tree. Every error says what is wrong and what to do about it.

BreakevenError
├── InputError              what the user typed or wrote is wrong        (exit code 2)
│   ├── ConfigError         a key of the configuration file
│   ├── ScenarioError       a key of a scenario, or a flag of ``plan``
│   ├── UnknownModel        a model nobody configured or priced
│   ├── UnknownMachine      a machine the catalogue does not have
│   └── AgentDefinitionError  a key of an agent's definition
├── RequestError            a caller's HTTP request is wrong             (4xx)
│   ├── MalformedBody
│   ├── BodyTooLarge
│   ├── Unauthorized
│   ├── NotPermitted        the caller's key is limited to something else
│   ├── ModelNotFound
│   ├── AgentNotFound
│   ├── ContextExceeded
│   ├── Unsupported
│   ├── DataStays           the call's data must not leave the machine
│   ├── BudgetRefused       a budget does not allow the attempt
│   │   ├── BudgetExhausted its money is spent, or reserved by calls in flight
│   │   └── CostUnknown     nobody can say what the attempt may cost
│   ├── RateExceeded        the caller's key is over its own rate limit
│   ├── IdempotencyConflict the Idempotency-Key was used for another request
│   └── AnswerNotKept       it was answered before, at a length that is not kept
├── UpstreamError           whoever was to answer did not                (5xx)
│   ├── RateLimited
│   ├── Overloaded          a provider has no capacity left; retryable
│   ├── EngineUnavailable   the local engine is loading, restarting or gone; retryable
│   ├── DeadlineExceeded    no answer in the time that the call had
│   ├── Unanswered          it was sent, and no answer that can be read came back
│   ├── DeadlineUnreachable the box cannot answer in time; another may
│   └── StreamCut           the answer broke off after it had begun
├── LedgerError             the books cannot be written or read
│   ├── LedgerUnavailable   nowhere to write: new calls are refused
│   └── RecordRejected      the database refuses a record for its content
├── QueueUnavailable        the agents' database does not answer         (5xx)
├── AgentError              an agent's work on an item did not succeed
│   ├── ItemRejected        the item itself cannot be worked on: a dead letter
│   └── ItemDeferred        something around it fails for now: the item waits and is taken up again
├── ModelFileError          a model could not be fetched or verified
└── PriceDataError          price data could not be fetched, or was refused
"""

from __future__ import annotations

from typing import Literal


class BreakevenError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        message: one line, no trailing full stop needed, naming the key and the value at fault.
        remedy: what the reader can do, or an empty string when there is nothing to do.
        code: a stable machine-readable word.
    """

    code = "error"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class InputError(BreakevenError):
    """What the user typed or wrote is wrong; commands exit with code 2."""

    code = "bad_input"


class KeyedInputError(InputError):
    """A value at a named key is wrong.

    Attributes:
        key: dotted path of the value, as the user wrote it.
        value: what was found there.
        allowed: what would have been accepted, in words.
    """

    def __init__(self, key: str, value: object, allowed: str, *, remedy: str = "") -> None:
        super().__init__(f"{key} = {value!r}: expected {allowed}", remedy=remedy)
        self.key = key
        self.value = value
        self.allowed = allowed


class ConfigError(KeyedInputError):
    """A key of the configuration file is missing or wrong."""

    code = "bad_configuration"


class ScenarioError(KeyedInputError):
    """A key of a scenario file, or a flag of ``breakeven plan``, is wrong."""

    code = "bad_scenario"


class UnknownModel(InputError):
    """No such model in the configuration or the price book."""

    code = "unknown_model"


class UnknownMachine(InputError):
    """No such machine in the catalogue."""

    code = "unknown_machine"


class AgentDefinitionError(KeyedInputError):
    """A key of an agent's definition is missing or wrong; ``origin`` is the file or the place in code."""

    code = "bad_agent"

    def __init__(self, origin: str, key: str, value: object, allowed: str, *, remedy: str = "") -> None:
        super().__init__(key, value, allowed, remedy=remedy)
        self.origin = origin
        self.message = f"{origin}: {self.message}"


class AgentError(BreakevenError):
    """An agent's work on an item did not succeed.

    Attributes:
        step / step_number: where; ``None`` outside any step.
        http_status: of the answer that it comes from, if it comes from one.
    """

    code = "agent_error"
    step: str | None = None
    step_number: int | None = None
    http_status: int | None = None


class ItemRejected(AgentError):
    """The item itself cannot be worked on; it becomes a dead letter."""

    code = "item_rejected"


class ItemDeferred(AgentError):
    """Something around the item fails for now; it is taken up again after ``retry_after_seconds``."""

    code = "item_deferred"

    def __init__(self, message: str, *, remedy: str = "", retry_after_seconds: float = 30.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class RequestError(BreakevenError):
    """A caller's request is wrong; ``status`` is the HTTP status it deserves."""

    code = "invalid_request"
    status = 400


class MalformedBody(RequestError):
    """The body is not the JSON the endpoint takes."""

    code = "malformed_body"


class BodyTooLarge(RequestError):
    """The body is longer than ``gateway.max_body_bytes``."""

    code = "body_too_large"
    status = 413


class Unauthorized(RequestError):
    """A key is required and the one given is missing or unknown."""

    code = "invalid_api_key"
    status = 401


class NotPermitted(RequestError):
    """The key is known, and limited to something else."""

    code = "not_permitted"
    status = 403


class ForeignPage(RequestError):
    """A web page from elsewhere calls a gateway that takes no keys."""

    code = "foreign_page"
    status = 403


class ModelNotFound(RequestError):
    """The request names a model that this gateway does not serve."""

    code = "model_not_found"
    status = 404


class AgentNotFound(RequestError):
    """The request names an agent that nobody has run here."""

    code = "agent_not_found"
    status = 404


class NoSuchEndpoint(RequestError):
    """No such path."""

    code = "no_such_endpoint"
    status = 404


class MethodNotAllowed(RequestError):
    """The path exists, for other methods."""

    code = "method_not_allowed"
    status = 405


class ContextExceeded(RequestError):
    """Prompt and requested output do not fit the model's context."""

    code = "context_length_exceeded"


class Unsupported(RequestError):
    """The model or the server behind it cannot do what the request asks."""

    code = "unsupported"


class DataStays(RequestError):
    """The call's data must not leave the machine, and nothing on the machine can serve it."""

    code = "data_stays"
    status = 403


class BudgetRefused(RequestError):
    """A budget does not allow an attempt.

    Attributes:
        budget: name of the budget that refuses.
        on_exhausted: what it asks for instead: ``refuse`` the call, or serve it with a ``local`` model.
        retry_after_seconds: when the budget may allow it; ``None`` for never, or when nobody can tell.
    """

    code = "budget_refused"
    status = 402

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        budget: str = "",
        on_exhausted: Literal["refuse", "local"] = "refuse",
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.budget = budget
        self.on_exhausted = on_exhausted
        self.retry_after_seconds = retry_after_seconds


class BudgetExhausted(BudgetRefused):
    """A budget lacks the money: spent (402), or for the moment reserved by calls in flight (429)."""

    code = "budget_exhausted"


class CostUnknown(BudgetRefused):
    """An attempt falls under a budget and nobody can say what it may cost at most."""

    code = "cost_unknown"


class RateExceeded(RequestError):
    """The caller's key is over its own rate limit; ``retry_after_seconds`` is when it will have room."""

    code = "rate_limit_exceeded"
    status = 429

    def __init__(self, message: str, *, remedy: str = "", retry_after_seconds: int = 1) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class IdempotencyConflict(RequestError):
    """The Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"
    status = 422


class AnswerNotKept(RequestError):
    """The call was answered and paid for before, but the answer was too long to be kept."""

    code = "answer_not_kept"
    status = 409


class UpstreamError(BreakevenError):
    """Whoever was to answer did not; ``status`` is what the caller sees, ``retryable`` whether to try again."""

    code = "upstream_error"
    status = 502
    retryable = True


class RateLimited(UpstreamError):
    """A provider limits the rate; ``retry_after_seconds`` is its own advice, ``None`` when it gave none."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, *, remedy: str = "", retry_after_seconds: int | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(UpstreamError):
    """A provider has no capacity left; ``retry_after_seconds`` is its own advice, ``None`` when it gave none."""

    code = "overloaded"
    status = 503

    def __init__(self, message: str, *, remedy: str = "", retry_after_seconds: int | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class EngineUnavailable(UpstreamError):
    """The local engine is loading, restarting or gone."""

    code = "engine_unavailable"
    status = 503


class DeadlineExceeded(UpstreamError):
    """There was no answer in the time that the call had."""

    code = "deadline_exceeded"
    status = 504
    retryable = False


class Unanswered(UpstreamError):
    """The request was sent and no answer that can be read came back: it may have been served, and billed."""

    code = "unanswered"


class DeadlineUnreachable(UpstreamError):
    """The local queue is too long for the call's deadline; said before the call has cost anything."""

    code = "deadline_unreachable"
    status = 503
    retryable = False


class StreamCut(UpstreamError):
    """The answer broke off after it had begun."""

    code = "stream_cut"


class LedgerError(BreakevenError):
    """The books cannot be written or read."""

    code = "ledger_error"


class LedgerUnavailable(LedgerError):
    """Nowhere to write a record: calls are refused rather than served unmetered."""

    code = "ledger_unavailable"
    status = 503


class RecordRejected(LedgerError):
    """The database refuses a record for its content; trying again would not help."""

    code = "record_rejected"


class QueueUnavailable(BreakevenError):
    """Items cannot be put into the agents' queue for now."""

    code = "queue_unavailable"
    status = 503


class ModelFileError(BreakevenError):
    """A model file could not be fetched, or is not what its checksum says."""

    code = "model_file"


class PriceDataError(BreakevenError):
    """Price data could not be fetched, or is not fit to be used."""

    code = "price_data"
