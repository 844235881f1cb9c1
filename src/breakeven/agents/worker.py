"""A worker: starts what is due, takes items, settles them, takes over from the dead, leaves in good order.

One thread decides; items are worked on in a pool. Everything it decides on is in the database, so that it may die at
any moment and another one, or its own next life, goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy.engine import Engine as Database
from sqlalchemy.exc import DBAPIError

from breakeven.agents import database, queue, runs, schedule, sources, workers
from breakeven.agents.app import Member
from breakeven.agents.context import Context, Steps, run_branch
from breakeven.agents.engine import Ended, Engine
from breakeven.agents.llm import Asks
from breakeven.agents.queue import Item, New
from breakeven.agents.runs import AgentState, Run
from breakeven.agents.telemetry import Untraced
from breakeven.agents.workers import Worker
from breakeven.errors import ItemRejected

LOOK_SECONDS = 0.2
"""Between two looks at the clock and the database."""
MOST_TAKEOVERS = 20
"""An item that was in hand when so many workers died is held to be what kills them."""
SWEEP_SECONDS = 3600.0

log = logging.getLogger(__name__)


class FleetWorker:
    """Works for a fleet until told to stop."""

    def __init__(
        self,
        fleet: Mapping[str, Member],
        db: Database,
        client: Asks,
        *,
        sole: bool,
        lease_seconds: float = 15.0,
        retention_days: float = 30.0,
        clock: Callable[[], float] = time.time,
        spans: Untraced | None = None,
    ) -> None:
        self._fleet = fleet
        self._db = db
        self._spans = spans or Untraced()
        self._client = self._spans.watching(client)
        self._sole = sole
        self._lease_seconds = lease_seconds
        self._retention_seconds = retention_days * 86400
        self._clock = clock
        self._me = Worker.of_this_process()
        self._engine = Engine(db, self._me.id, self._work, self._work_branch)
        self._pool = ThreadPoolExecutor(512, thread_name_prefix="item-")
        self._at_work: dict[str, int] = {}
        self._count_lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._hungry: set[str] = set()
        self._offsets: dict[str, float] = {}
        self._left = threading.Event()
        self._abandoned = False
        self._outage = False
        self._unsure = False
        self._in_hand: set[int | str] = set()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._swept_at = float("-inf")

    def stop(self) -> None:
        """Ask the worker to take nothing more, finish what it has in hand and leave."""
        self._stopping.set()
        self._wake.set()

    def run(self, *, until_idle: bool = False, drain_seconds: float = 60.0) -> bool:
        """Work until stopped, or until there is nothing to do.

        Returns:
            Whether everything in hand was finished; what was not is taken up by the next worker.
        """
        self._enter()
        try:
            next_look = 0.0
            while not self._stopping.is_set():
                idle = False
                try:
                    if time.monotonic() >= next_look:
                        idle = self.look()
                        next_look = time.monotonic() + LOOK_SECONDS
                    else:
                        self._take_all()
                except DBAPIError as error:
                    self._note_outage(error)
                    self._unsure = True
                    time.sleep(LOOK_SECONDS)
                if until_idle and idle:
                    break
                self._wake.wait(max(0.0, next_look - time.monotonic()))
                self._wake.clear()
            finished = self._drain(drain_seconds)
        except BaseException:
            self._leave(finished=False)
            raise
        self._leave(finished=finished)
        return finished

    def _enter(self) -> None:
        database.migrate(self._db)
        now = self._clock()
        with self._db.begin() as connection:
            workers.register(connection, self._me)
            for name, member in sorted(self._fleet.items()):
                runs.remember(connection, name, now, takes_items=member.agent.source is not None)
        self._heart.start()
        self._engine.start()
        spread = {name: member.agent.schedule for name, member in self._fleet.items() if member.agent.spread == "auto"}
        self._offsets = schedule.offsets({name: at for name, at in spread.items() if at is not None}, now)

    def _leave(self, *, finished: bool) -> None:
        """Stop; who leaves items in hand behind is not struck off, so that the next worker takes them over."""
        self._stopping.set()
        self._left.set()
        self._heart.join()
        self._engine.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if not finished:
            return
        try:
            self._spans.tell_runs()
            with self._db.begin() as connection:
                workers.leave(connection, self._me.id)
        except DBAPIError as error:
            self._note_outage(error)

    def _drain(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._busy() and time.monotonic() < deadline:
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
        return not self._busy() and not self._abandoned

    def _busy(self) -> bool:
        with self._count_lock:
            return any(self._at_work.values())

    def look(self) -> bool:
        """Do all that is to be done now. Whether there was nothing, and nothing is at work."""
        self._let_go()
        self._take_over()
        self._spans.tell_runs()
        self._sweep()
        with self._db.begin() as connection:
            remembered = runs.remembered(connection)
        now = self._clock()
        awake = [name for name in self._fleet if name in remembered and not remembered[name].paused]
        for name in awake:
            self._note_ticks(name, remembered[name], now)
        with self._db.connect() as connection:
            unfinished = runs.unfinished(connection)
        mine = [run for run in unfinished if run.agent in awake]
        for run in mine:
            if run.state == "waiting":
                self._begin(run, mine, remembered[run.agent])
        self._hungry = {run.agent for run in mine if run.state != "waiting"}
        taken = self._take_all()
        return not mine and not taken and not self._busy()

    # Ticks

    def _note_ticks(self, name: str, state: AgentState, now: float) -> None:
        agent = self._fleet[name].agent
        cadence = agent.schedule
        if cadence is None:
            return
        offset = self._offsets.get(name, 0.0)
        found = schedule.due(cadence, state.seen, now, missed=agent.missed, offset=offset)
        if found.seen == state.seen:
            return
        with self._db.begin() as connection:
            for tick in found.start:
                late = now - tick - offset > schedule.GRACE_SECONDS
                runs.note_tick(connection, name, tick, "missed" if late else "schedule", offset=offset)
            runs.update_state(connection, name, seen=found.seen)
        if found.missed:
            log.info("%s: %d missed wake-ups left out (missed = %r)", name, found.missed, agent.missed)

    def _begin(self, run: Run, unfinished: list[Run], state: AgentState) -> None:
        agent = self._fleet[run.agent].agent
        others = [other for other in unfinished if other.agent == run.agent and other.id != run.id]
        active = [other for other in others if other.state in runs.BUSY]
        earlier = [other for other in others if other.state == "waiting" and other.scheduled_for < run.scheduled_for]
        verdict = schedule.on_overlap(agent.overlap, active=len(active), waiting=len(earlier))
        if run.trigger != "schedule" and active:
            verdict = "wait"  # asked for, or made up for: worth waiting for
        if verdict == "wait" or (verdict == "start" and earlier):
            return
        if verdict == "skip":
            with self._db.begin() as connection:
                runs.end(connection, run.id, "skipped", "the wake-up before was still at work")
            return
        if verdict == "cancel_and_start":
            for other in active:
                self._cancel(other.id)
        with self._db.begin() as connection:
            begun = runs.begin(connection, run.id, self._me.id)
            if begun:
                self._spans.begin_run(connection, run.agent, run.id)
        if begun:
            self._submit(run.agent, run.id, lambda: self._gather(run, state.cursor))

    def _cancel(self, run: str) -> None:
        with self._db.begin() as connection:
            at_work = queue.release(connection, run)
            runs.end(connection, run, "cancelled", "the next wake-up was due")
        for item in at_work:
            self._engine.cancel(item.workflow)

    def _gather(self, run: Run, cursor: str | None) -> None:
        try:
            self._bring_in(run, cursor)
        except Exception as error:  # whatever a source comes upon fails this run alone
            if isinstance(error, DBAPIError) and database.heals(error):
                raise
            log.warning("%s: %s", run.id, error)
            with self._db.begin() as connection:
                runs.end(connection, run.id, "failed", database.storable(str(error)))

    def _bring_in(self, run: Run, cursor: str | None) -> None:
        agent = self._fleet[run.agent].agent
        found, reached = sources.look(agent.source, cursor, self._db)
        now = self._clock()
        with self._db.begin() as connection:
            if agent.source is None:
                found = [New({"scheduled_for": run.scheduled_for, "trigger": run.trigger}, run.id)]
            queue.enqueue(connection, agent.name, found, origin="tick" if agent.source is None else "source")
            if reached is not None:
                runs.update_state(connection, agent.name, cursor=reached)
            runs.gathered(connection, run.id, queue.assign(connection, agent.name, run.id, agent.batch, now))

    # Items

    def _take_all(self) -> int:
        return sum(self._take(name) for name in list(self._hungry))

    def _take(self, name: str) -> int:
        with self._count_lock:
            free = self._fleet[name].agent.parallel - self._at_work.get(name, 0)
        if free <= 0 or self._stopping.is_set():
            return 0
        taken = queue.claim(self._db, name, self._me.id, free)
        if len(taken) < free:
            self._hungry.discard(name)  # until the next look
        for item in taken:
            self._submit(name, item.id, lambda item=item: self._attend(item))  # type: ignore[misc]
        return len(taken)

    def _let_go(self) -> None:
        """After the database failed, give back what it may have given us without our hearing of it: what is ours by its
        word and that we do not have in hand."""
        if not self._unsure:
            return
        with self._count_lock:
            in_hand = list(self._in_hand)
        with self._db.begin() as connection:
            queue.let_go(connection, self._me.id, [one for one in in_hand if isinstance(one, int)])
            runs.let_go(connection, self._me.id, [one for one in in_hand if isinstance(one, str)])
        self._unsure = False

    def _submit(self, name: str, what: int | str, work: Callable[[], None]) -> None:
        """Work on an item, by its number, or a run, by its id, in the pool."""
        with self._count_lock:
            self._at_work[name] = self._at_work.get(name, 0) + 1
            self._in_hand.add(what)

        def guarded() -> None:
            try:
                self._persist(work)
            except Exception:
                self._abandoned = True
                if not self._left.is_set():  # once the engine is closed nothing can succeed
                    log.exception("%s: failed outside of its items", name)
            finally:
                with self._count_lock:
                    self._at_work[name] -= 1
                    self._in_hand.discard(what)
                self._wake.set()

        self._pool.submit(guarded)

    def _persist(self, work: Callable[[], None]) -> None:
        """Do what may be repeated, and repeat it while the database fails."""
        while True:
            try:
                work()
            except DBAPIError as error:
                self._note_outage(error)
                if self._stopping.wait(1.0):
                    self._abandoned = True
                    return
            else:
                return

    def _attend(self, item: Item) -> None:
        if item.takeovers > MOST_TAKEOVERS:
            why = f"{item.takeovers} workers died with this item in hand"
            self._settle(item, Ended("rejected", error=ItemRejected(why)))
            return
        ended = self._engine.run(item)
        if not self._left.is_set():  # once the engine is closed, what it says of an item means nothing
            self._settle(item, ended)

    def _settle(self, item: Item, ended: Ended) -> None:
        error = ended.error
        with self._db.begin() as connection:
            if ended.outcome == "done":
                kept = queue.settle(connection, item, self._me.id, "done", error=None, step=None)
            elif ended.outcome == "rejected" and error is not None:
                at = {"from_step": ended.resume_at, "step": error.step, "error": database.storable(str(error))}
                kept = queue.settle(connection, item, self._me.id, "dead", **at)
            elif ended.outcome in ("deferred", "cancelled"):
                wait = getattr(error, "retry_after_seconds", 0.0)
                why = str(error) if error is not None else "cancelled: the next wake-up was due"
                kept = queue.put_back(
                    connection,
                    item,
                    self._me.id,
                    not_before=self._clock() + wait,
                    step=ended.resume_at,
                    why=database.storable(why),
                )
            else:
                return
            if kept and item.run is not None:
                done = ended.outcome == "done"
                runs.count(connection, item.run, succeeded=int(done), failed=int(ended.outcome == "rejected"))
        if error is not None:
            log.warning("%s: %s: %s", item.workflow, ended.outcome, error)

    def _work(self, agent: str, item: dict[str, Any], steps: Steps) -> None:
        member = self._member(agent)
        chain = steps.workflow()
        context = Context(member.agent, steps, self._client, key=item["key"], run=item["run"], chain=chain)
        with self._spans.item(agent, chain):
            member.function(context, item["payload"])

    def _work_branch(self, document: dict[str, Any], steps: Steps) -> Any:
        return run_branch(document, self._member(document["agent"]).agent, steps, self._client)

    def _member(self, name: str) -> Member:
        if name not in self._fleet:
            raise ItemRejected(f"there is no agent {name!r} any more", remedy="Put it back and retry the dead letter.")
        return self._fleet[name]

    # Life and death

    def _beat(self) -> None:
        """Say every now and then that this worker lives, however long the rest takes."""
        while not self._left.wait(min(1.0, self._lease_seconds / 5)):
            try:
                with self._db.begin() as connection:
                    asked_to_leave = workers.beat(connection, self._me.id)
            except DBAPIError as error:
                self._note_outage(error)
            else:
                if self._outage:
                    self._outage = False
                    log.warning("the database answers again")
                if asked_to_leave:
                    self.stop()

    def _note_outage(self, error: DBAPIError) -> None:
        """Say once that the database fails, until it answers again."""
        if not self._outage:
            self._outage = True
            log.warning("the database fails, trying until it answers: %s", error.orig)

    def _take_over(self) -> None:
        with self._db.connect() as connection:
            dead = workers.dead(connection, self._me, self._lease_seconds, sole=self._sole)
        for other in dead:
            with self._db.begin() as connection:
                if not workers.hold(connection, other):
                    continue
                recovered = self._engine.recover(other)
                items = queue.take_over(connection, other)
                runs.take_over(connection, other)
                workers.leave(connection, other)
                runs.end_finished(connection)
            log.warning("took over from %s: %d items, %d workflows in the middle", other, items, recovered)

    def _sweep(self) -> None:
        now = time.monotonic()
        if now - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = now
        before = self._clock() - self._retention_seconds
        self._engine.forget(before)
        with self._db.begin() as connection:
            workers.forget(connection, before)
            queue.forget(connection, before)
            runs.forget(connection, before)
