"""The durable engine, thin over DBOS: each attempt at an item is a workflow whose steps are recorded as they end.

A workflow interrupted by the death of its process goes on after its last recorded step. What DBOS leaves to its user is
done here: records in JSON, a version of our own so that changed code strands nothing, one executor id a process, and
the recovery of a dead worker's workflows. DBOS checks the ownership of a workflow at each write, so a process that was
only slow, and lost its work to another, can write nothing any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from dbos import DBOS, SetWorkflowID, SQLAlchemyDatasource, WorkflowHandle
from dbos import error as faults
from sqlalchemy.engine import Engine as Database
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from breakeven.agents.context import Steps
from breakeven.agents.database import url_of
from breakeven.agents.queue import Item, workflow_id
from breakeven.agents.records import JsonRecords, as_agent_error
from breakeven.errors import AgentError, ItemDeferred

VERSION = "breakeven-agents-1"
"""Ours, not a digest of the sources as DBOS would choose: pending work outlives a change of code."""
RECOVERY_QUEUE = "breakeven-recovery"
POLL_SECONDS = 0.2

Body = Callable[[str, dict[str, Any], Steps], None]
"""Works on an item: agent, item as JSON, the engine to take steps in."""
BranchBody = Callable[[dict[str, Any], Steps], Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended.

    Attributes:
        error: with ``rejected`` and ``deferred``: why.
        resume_at: step from which another attempt would go on.
    """

    outcome: Literal["done", "rejected", "deferred", "cancelled", "lost"]
    result: Any = None
    error: AgentError | None = None
    resume_at: int = 1


class Engine:
    """Runs attempts at items; one to a process, since DBOS is."""

    def __init__(self, database: Database, executor: str, body: Body, branch: BranchBody) -> None:
        self._database = database
        self._executor = executor
        self._body = body
        self._branch = branch
        self._item_workflow: Callable[..., Any]
        self._branch_workflow: Callable[..., Any]
        self._source: SQLAlchemyDatasource
        self._interrupted: set[str] = set()

    def start(self) -> None:
        """Open the engine's tables and begin to take up recovered work."""
        url = url_of(self._database)
        DBOS(
            config={
                "name": "breakeven-agents",
                "system_database_url": url,
                "system_database_engine": self._database,
                "application_version": VERSION,
                "executor_id": self._executor,
                "serializer": JsonRecords(),
                "log_level": "CRITICAL",
                "use_listen_notify": False,
                "notification_listener_polling_interval_sec": POLL_SECONDS,  # its thread is waited for when we leave
            }
        )

        @DBOS.workflow(name="item", max_recovery_attempts=None)
        def work_on(agent: str, item: dict[str, Any]) -> Any:
            return _telling(lambda: self._body(agent, item, self))

        @DBOS.workflow(name="branch", max_recovery_attempts=None)
        def work_on_part(document: dict[str, Any]) -> Any:
            return _telling(lambda: self._branch(document, self))

        self._item_workflow, self._branch_workflow = work_on, work_on_part
        self._source = SQLAlchemyDatasource.create(url, engine=self._database, serializer=JsonRecords())
        DBOS.launch()
        DBOS.register_queue(RECOVERY_QUEUE, polling_interval_sec=POLL_SECONDS, on_conflict="always_update")

    def stop(self) -> None:
        """Let go of everything; workflows under way stay pending and are taken up by whoever recovers them."""
        DBOS.destroy(destroy_registry=True)

    def run(self, item: Item) -> Ended:
        """Bring an attempt at an item to its end, whether it is new, was interrupted, or is at work elsewhere.

        Raises:
            DBAPIError: the database fails; calling again goes on.
        """
        try:
            handle = self._going(item)
            result = handle.get_result(polling_interval_sec=POLL_SECONDS)
        except (faults.DBOSWorkflowCancelledError, faults.DBOSAwaitedWorkflowCancelledError):
            return Ended("cancelled")
        except faults.DBOSWorkflowConflictIDError:
            return Ended("lost")
        except DBAPIError:
            self._interrupted.add(item.workflow)
            raise
        except Exception as error:  # noqa: BLE001 - whatever an agent's code raises ends its item, not the fleet
            known = as_agent_error(error)
            at = known.step_number if known.step_number is not None else self._next_step(item.workflow)
            return Ended("deferred" if isinstance(known, ItemDeferred) else "rejected", error=known, resume_at=at)
        return Ended("done", result)

    def _going(self, item: Item) -> WorkflowHandle[Any]:
        """The attempt under way: begun, gone on with, or at work already."""
        workflow, step = item.workflow, max(1, item.from_step or 1)
        if workflow in self._interrupted and (found := DBOS.get_workflow_status(workflow)) is not None:
            self._go_on(workflow, found.status)
            self._interrupted.discard(workflow)
            return DBOS.retrieve_workflow(workflow)
        if item.from_step is None and not item.continues:
            with SetWorkflowID(workflow):
                return DBOS.start_workflow(self._item_workflow, item.agent, _document(item))
        found = DBOS.get_workflow_status(workflow)
        if found is None:
            with SetWorkflowID(workflow):
                return DBOS.fork_workflow(
                    workflow_id(item.agent, item.id, item.attempt - 1), step, queue_name=RECOVERY_QUEUE
                )
        if item.continues and found.status == "CANCELLED":
            return DBOS.resume_workflow(workflow, queue_name=RECOVERY_QUEUE)
        if item.continues and found.status == "ERROR":
            self._rewind(workflow, step)
        return DBOS.retrieve_workflow(workflow)

    def _go_on(self, workflow: str, status: str) -> None:
        """Take up an attempt that the database failed under, and whose end, if it has one, says no more than that."""
        if status == "ERROR":
            self._rewind(workflow, self._next_step(workflow))
        elif status == "PENDING":
            DBOS.resume_workflow(workflow, queue_name=RECOVERY_QUEUE)

    def _rewind(self, workflow: str, step: int) -> None:
        """Let a workflow that was deferred go on where it was, parts of it first."""
        deferred = [taken for taken in DBOS.list_workflow_steps(workflow) if isinstance(taken["error"], ItemDeferred)]
        for part in {taken["child_workflow_id"] for taken in deferred} - {None}:
            found = DBOS.get_workflow_status(str(part))
            if found is not None and found.status == "ERROR":
                self._rewind(str(part), 1)
        first = min((taken["function_id"] for taken in deferred), default=step)
        DBOS.rewind_workflow(workflow, start_step=first, queue_name=RECOVERY_QUEUE)

    def _next_step(self, workflow: str) -> int:
        steps = DBOS.list_workflow_steps(workflow, load_output=False)
        return max((step["function_id"] for step in steps), default=0) + 1

    # What a body does inside of a workflow

    def step(self, name: str, call: Callable[[], Any]) -> Any:
        """Take a step: its result, which must be JSON, is recorded; replayed, it is not called again.

        Raises:
            AgentError: the step failed, now or in the recorded past.
        """

        def attempt() -> Any:
            try:
                return call()
            except Exception as error:
                raise _located(error, name) from error

        return DBOS.run_step({"name": name}, attempt)

    def transaction(self, name: str, call: Callable[[Session], Any]) -> Any:
        """As ``step``, with writes to the agents' database that are committed together with the record."""

        def attempt() -> Any:
            try:
                return call(self._source.sql_session())
            except DBAPIError:
                raise  # a conflict is tried again by the data source
            except Exception as error:
                raise _located(error, name) from error

        try:
            return self._source.run_tx_step({"name": name}, attempt)
        except DBAPIError as error:
            raise _located(error, name) from error

    def branches(self, documents: Sequence[dict[str, Any]], parallel: int) -> Iterator[Any]:
        """Work on parts in workflows of their own, at most ``parallel`` at once; results or errors in order."""
        handles: list[Any] = []
        for number in range(len(documents)):
            while len(handles) < min(number + parallel, len(documents)):
                handles.append(DBOS.start_workflow(self._branch_workflow, documents[len(handles)]))
            try:
                yield handles[number].get_result(polling_interval_sec=POLL_SECONDS)
            except AgentError as error:
                yield error

    def call_key(self) -> str:
        """What names the call that the step under way makes, the same whenever the step is repeated."""
        return f"{DBOS.workflow_id}:{DBOS.step_id}"

    def workflow(self) -> str:
        """The workflow under way."""
        return str(DBOS.workflow_id)

    # What a worker does to workflows

    def cancel(self, workflow: str) -> None:
        """Let a workflow end before its next step."""
        with suppress(faults.DBOSNonExistentWorkflowError):
            DBOS.cancel_workflow(workflow)

    def recover(self, executor: str) -> int:
        """Take up what a dead worker left in the middle. How many workflows there were."""
        pending = DBOS.list_workflows(status="PENDING", executor_id=executor, load_input=False, load_output=False)
        for workflow in pending:
            DBOS.resume_workflow(workflow.workflow_id, queue_name=RECOVERY_QUEUE)
        return len(pending)

    def forget(self, before: float) -> int:
        """Drop the records of workflows that ended before an instant. How many there were."""
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before))
        forgotten = 0
        while True:
            old = DBOS.list_workflows(
                status=["SUCCESS", "ERROR", "CANCELLED"],
                completed_before=until,
                limit=500,
                load_input=False,
                load_output=False,
            )
            if not old:
                return forgotten
            DBOS.delete_workflows([workflow.workflow_id for workflow in old])
            forgotten += len(old)


def _telling(call: Callable[[], Any]) -> Any:
    """Let errors be ours, so that a replay raises what the first try raised; those of engine and database pass."""
    try:
        return call()
    except (faults.DBOSException, DBAPIError):
        raise
    except Exception as error:
        raise as_agent_error(error) from error


def _located(error: Exception, step: str) -> AgentError:
    known = as_agent_error(error)
    if known.step is None:
        known.step, known.step_number = step, DBOS.step_id
    return known


def _document(item: Item) -> dict[str, Any]:
    return {"id": item.id, "key": item.key, "payload": item.payload, "run": item.run}
