"""Commands at the desk: execute a workflow, cancel an execution, run one again.

Every question is a principal's and sees its team alone: another team's execution is not found. Called by the native
face and the dialects, which do the spelling; `issuing` takes commands to engines, `waiting` waits for what they do.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from monitor.access.principal import Principal
from monitor.engines.base import (
    UNKNOWN_EXECUTION,
    Accepted,
    Cancel,
    Command,
    Engine,
    Execute,
    Refused,
    Retry,
    Submitted,
)
from monitor.engines.router import Router
from monitor.errors import (
    CannotCancelExecution,
    CannotRetryExecution,
    CommandNotFound,
    CommandRefused,
    NoEngine,
    WorkflowNotFound,
)
from monitor.executions.audit import Audit
from monitor.executions.finding import could_be_id, find_execution, has_ended
from monitor.executions.issuing import Issuing
from monitor.executions.originals import Originals
from monitor.executions.telling import Telling
from monitor.executions.waiting import ENDED, STARTED, Commanded, Goal, Waiting
from monitor.fanout.watches import Watch
from monitor.projections.filter import Condition, Filter
from monitor.projections.status import is_final
from monitor.projections.view import Summary
from monitor.store.base import Reader, Store
from monitor.store.command_port import CommandRow
from monitor.store.execution_port import ListQuery

CANCEL_WAIT_S: Final = 5.0
"""How long an answer waits until a cancellation that the engine took is visible."""

START_WAIT_S: Final = 5.0
"""The same for a repeated execution to start."""

ORPHAN_WAIT_S: Final = 2.0
"""How long an engine has to show that it knows an execution, or its end to arrive, before somebody is told that it is
nobody's."""

_TOO_LATE: Final = "Cannot cancel execution that is already completed"
_TOO_EARLY: Final = "Cannot retry execution that has not ended"
_CURE: Final = "'force' records the execution as cancelled without asking one"


class Commands:
    """The use cases. Every method raises StoreUnavailable, JournalUnavailable and EngineUnavailable; those that wait
    raise TooManyWaiting.

    Equal `seed`s of one principal name one command, which is issued once.
    """

    def __init__(
        self,
        *,
        store: Store,
        engines: Router,
        telling: Telling,
        audit: Audit,
        waiting: Waiting,
        originals: Originals,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store, self._engines, self._telling, self._waiting = store, engines, telling, waiting
        self._originals = originals
        self._audit, self._issuing = audit, Issuing(store, telling, audit, random_bytes)

    async def execute(
        self,
        who: Principal,
        workflow_id: str,
        input_data: Any,
        *,
        wait_s: float = 0.0,
        goal: Goal = ENDED,
        seed: str | None = None,
    ) -> Commanded:
        """Run a workflow, and wait up to `wait_s` seconds for its end, or for what `goal` says.

        Raises WorkflowNotFound, NoEngine, CommandRefused, and InvalidEvent for an input that no event can carry.
        """
        engine = self._engines.engine_for(who.team, workflow_id)
        if engine is None:
            raise await self._nobody_runs(who, workflow_id)
        ids = self._issuing.ids(who, seed)
        command = Execute(ids.command_id, who.team, ids.execution_id, workflow_id, input_data)
        self._telling.check("execution.queued", {"inputData": input_data})
        return await self._start(engine, command, who, goal, wait_s)

    async def retry(
        self,
        who: Principal,
        execution_id: str,
        start_nodes: Sequence[str] = (),
        *,
        load_workflow: bool = False,
        seed: str | None = None,
    ) -> Commanded:
        """Run the workflow of an execution that has ended once more, from `start_nodes` on if there are some.

        It is given what the other was given, not what is shown of that. Done when it has started. Raises
        ExecutionNotFound, CannotRetryExecution, NoEngine and CommandRefused.
        """

        def work(reader: Reader) -> tuple[Summary, bytes | None]:
            summary, key = find_execution(reader, who, execution_id)
            return summary, reader.payloads(key, ["input"]).get("input")

        summary, given = await self._store.read(work)
        if not has_ended(summary):
            raise CannotRetryExecution(_TOO_EARLY, executionId=execution_id, status=summary.status)
        engine = self._engine_of(who, summary)
        given = await self._originals.input(who, execution_id, given)
        ids = self._issuing.ids(who, seed)
        command = Retry(
            ids.command_id,
            who.team,
            ids.execution_id,
            summary.workflow_id,
            execution_id,
            None if given is None else msgspec.json.decode(given),
            start_nodes,
            load_workflow,
        )
        return await self._start(engine, command, who, STARTED, START_WAIT_S)

    async def cancel(
        self, who: Principal, execution_id: str, reason: str, *, force: bool = False, seed: str | None = None
    ) -> Commanded:
        """Stop an execution, and wait some seconds until that is visible.

        With `force`, one that no engine knows is recorded as cancelled. Raises ExecutionNotFound,
        CannotCancelExecution, NoEngine and CommandRefused.
        """
        with self._waiting.watch(who, execution_id) as watch:
            summary = await self._open(who, execution_id)
            command_id = self._issuing.ids(who, seed).command_id
            command = Cancel(command_id, who.team, execution_id, summary.workflow_id, reason)
            engine = self._engines.engine_for(who.team, summary.workflow_id)
            if engine is None:
                if not force:
                    raise self._no_engine(summary)
                await self._force(command, who, self._issuing.requested(command, who))
            elif refused := await self._stop(engine, command, who, watch, force=force):
                if refused.code != UNKNOWN_EXECUTION:
                    raise CommandRefused(refused.reason, commandId=command_id, executionId=execution_id)
                if not force:
                    raise NoEngine(f"{refused.reason}; {_CURE}", executionId=execution_id, status=summary.status)
                await self._force(command, who)
            return await self._cancelled(who, command, watch)

    async def of_execution(self, who: Principal, execution_id: str) -> Sequence[CommandRow]:
        """Every command of an execution, in the order of asking. Raises ExecutionNotFound."""

        def work(reader: Reader) -> list[CommandRow]:
            summary, key = find_execution(reader, who, execution_id)
            return [CommandRow(who.team, execution_id, summary.workflow_id, it, key) for it in reader.commands(key)]

        return await self._store.read(work)

    async def single(self, who: Principal, command_id: str) -> CommandRow:
        """One command. Raises CommandNotFound."""
        could_be = could_be_id(command_id)
        found = await self._store.read(lambda reader: reader.command(who.team, command_id)) if could_be else None
        if found is None:
            raise CommandNotFound(commandId=command_id)
        return found

    async def is_issued(self, who: Principal, seed: str) -> bool:
        """Whether the command that `seed` names was issued, and an engine took it."""
        command_id = self._issuing.ids(who, seed).command_id
        found = await self._store.read(lambda reader: reader.command(who.team, command_id))
        return found is not None and found.command.state in ("accepted", "completed")

    # --- starting ----------------------------------------------------------------------------------------------------

    async def _start(
        self, engine: Engine, command: Execute | Retry, who: Principal, goal: Goal, wait_s: float
    ) -> Commanded:
        with self._waiting.watch(who, command.execution_id) as watch:
            answer = await self._issuing.issue_once(engine, command, who)
            if not isinstance(answer, Accepted) or answer.execution_id == command.execution_id:
                return await self._waiting.outcome(who, command, watch, goal, wait_s)
        # An engine that makes up its own ids tells of the execution under another one.
        named = replace(command, execution_id=answer.execution_id)
        with self._waiting.watch(who, named.execution_id) as watch:
            return await self._waiting.outcome(who, named, watch, goal, wait_s)

    def _engine_of(self, who: Principal, summary: Summary) -> Engine:
        engine = self._engines.engine_for(who.team, summary.workflow_id)
        if engine is None:
            raise NoEngine(_nobody(summary.workflow_id), executionId=summary.id, status=summary.status)
        return engine

    async def _nobody_runs(self, who: Principal, workflow_id: str) -> WorkflowNotFound | NoEngine:
        """Why a workflow cannot be executed: nobody knows it, or it is known by what was told of it alone."""
        of_it = Filter((Condition("workflowId", "eq", (workflow_id,)),))
        query = ListQuery(who.team, of_it, "-startedAt", 1)
        is_known = could_be_id(workflow_id) and (await self._store.read(lambda it: it.executions(query)))[1]
        if is_known:
            return NoEngine(_nobody(workflow_id), workflowId=workflow_id)
        return WorkflowNotFound(f"Workflow with ID '{workflow_id}' not found", workflowId=workflow_id)

    # --- stopping ----------------------------------------------------------------------------------------------------

    async def _open(self, who: Principal, execution_id: str) -> Summary:
        """The execution, which has not ended. Raises ExecutionNotFound and CannotCancelExecution."""
        summary, _ = await self._store.read(lambda reader: find_execution(reader, who, execution_id))
        if has_ended(summary):
            raise CannotCancelExecution(_TOO_LATE, executionId=execution_id, status=summary.status)
        return summary

    async def _stop(
        self, engine: Engine, command: Cancel, who: Principal, watch: Watch, *, force: bool
    ) -> Refused | None:
        """What the engine has against it; raises CannotCancelExecution when that is an end that came first."""
        answer = await self._issuing.issue_once(engine, command, who)
        if isinstance(answer, Submitted) and force:
            knows = await watch.until(lambda heard: _is_known(heard, command), ORPHAN_WAIT_S)
            answer = answer if knows else Refused("No engine has answered", UNKNOWN_EXECUTION)
        if not isinstance(answer, Refused):
            return None
        if answer.code is None:
            # An engine that refuses to stop what it knows is about to tell an end.
            await watch.until(lambda heard: heard.status is not None and is_final(heard.status), ORPHAN_WAIT_S)
        await self._open(who, command.execution_id)
        return answer

    async def _force(self, command: Cancel, who: Principal, *before: dict[str, Any]) -> None:
        """Record the end that a person decided, though no engine told it."""
        said = {"reason": command.reason, "actor": who.name}
        end = self._telling.event("execution.cancelled", command.execution_id, command.workflow_id, said)
        done = self._telling.of_command("completed", command, who, reason="forced")
        await self._telling.shown(await self._telling.tell(who.team, *before, end, done))
        await self._audit.record(who, "execution.force", command.execution_id, reason=command.reason)

    async def _cancelled(self, who: Principal, command: Cancel, watch: Watch) -> Commanded:
        done = await self._waiting.outcome(who, command, watch, ENDED, CANCEL_WAIT_S)
        if done.is_done and done.summary is not None and done.summary.status != "cancelled":
            raise CannotCancelExecution(_TOO_LATE, executionId=command.execution_id, status=done.summary.status)
        return done

    def _no_engine(self, summary: Summary) -> NoEngine:
        message = f"{_nobody(summary.workflow_id)}; {_CURE}"
        return NoEngine(message, executionId=summary.id, status=summary.status)


def _is_known(watch: Watch, command: Command) -> bool:
    """Whether the engine has shown that the execution is its own."""
    is_told = watch.has_heard(command.command_id, "command.accepted", "command.completed")
    return is_told or (watch.status is not None and is_final(watch.status))


def _nobody(workflow_id: str) -> str:
    return f"No engine here runs the workflow '{workflow_id}'" if workflow_id else "No engine here runs it"
