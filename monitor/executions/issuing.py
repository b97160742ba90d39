"""Issuing commands: append what is requested, submit it to the engine, append the answer.

Whatever dies in between, a command is carried out once or not at all, and its events say which: what is requested is
durable before an engine hears of it, engines take each command id once, and a request that nobody answered is told as
failed in time.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from monitor.access.audit import AuditOutcome
from monitor.access.principal import Principal
from monitor.engines.base import Accepted, Answer, Command, Engine, Refused, Submitted
from monitor.errors import EngineUnavailable, Unavailable
from monitor.events.position import Position
from monitor.executions.audit import Audit
from monitor.executions.telling import Telling, WireEvent
from monitor.store.base import Store

_ID_BYTES: Final = 12
"""Ids cannot be guessed, and never meet."""

_NOT_TOLD: Final = frozenset({"inputData"})
"""Arguments that the engine tells with the execution, as the payload that they are."""


class Ids(NamedTuple):
    """Names of a command, and of the execution that it makes if it makes one."""

    command_id: str
    execution_id: str


class Issuing:
    """Takes commands to engines."""

    def __init__(self, store: Store, telling: Telling, audit: Audit, random_bytes: Callable[[int], bytes]) -> None:
        self._store, self._telling, self._audit, self._random_bytes = store, telling, audit, random_bytes

    def ids(self, who: Principal, seed: str | None) -> Ids:
        """New ids; the same again for an equal `seed` of the same principal."""
        word = self._random_bytes(_ID_BYTES).hex() if seed is None else _word(who, seed)
        return Ids(f"cmd_{word}", f"exec_{word}")

    async def issue_once(self, engine: Engine, command: Command, who: Principal) -> Answer:
        """The engine's answer; `Submitted` for a command of this id that was answered before.

        On return everything that was told of it until then is visible. Raises EngineUnavailable.
        """
        known = await self._store.read(lambda reader: reader.command(who.team, command.command_id))
        if known is not None and known.command.is_answered:
            return Submitted()
        before = [self.requested(command, who)] if known is None else []
        return await self._issue(engine, command, who, await self._telling.tell(who.team, *before))

    def requested(self, command: Command, who: Principal) -> WireEvent:
        """What is told first."""
        args = {name: value for name, value in command.args.items() if name not in _NOT_TOLD}
        return self._telling.of_command("requested", command, who, **({"args": args} if args else {}))

    async def _issue(self, engine: Engine, command: Command, who: Principal, position: Position) -> Answer:
        """Submit what was appended as requested, up to `position`, and append the answer."""
        try:
            answer = await engine.submit(command)
        except Unavailable as away:
            error = {"type": away.code, "message": away.message}
            await self._telling.tell(who.team, self._telling.of_command("failed", command, who, error=error))
            await self._note(who, command, "refused", code=away.code)
            ids = {"commandId": command.command_id, "executionId": command.execution_id}
            raise EngineUnavailable(away.message, **ids) from None
        if events := self._told_of(answer, command, who):
            position = await self._telling.tell(who.team, *events)
        await self._telling.shown(position)
        refusal = {"code": answer.code or "refused"} if isinstance(answer, Refused) else {}
        await self._note(who, command, "refused" if refusal else "done", **refusal)
        return answer

    async def _note(self, who: Principal, command: Command, outcome: AuditOutcome, **detail: str) -> None:
        more = {"commandId": command.command_id, "workflowId": command.workflow_id, **detail}
        await self._audit.record(who, f"execution.{command.kind}", command.execution_id, outcome=outcome, **more)

    def _told_of(self, answer: Answer, command: Command, who: Principal) -> list[WireEvent]:
        if isinstance(answer, Refused):
            error = {"type": answer.code or "refused", "message": answer.reason}
            return [self._telling.of_command("refused", command, who, error=error)]
        if isinstance(answer, Submitted):
            return []
        accepted = self._telling.of_command("accepted", command, who, executionId=answer.execution_id)
        return [accepted, *self._given_up(answer, command)]

    def _given_up(self, answer: Accepted, command: Command) -> list[WireEvent]:
        """An engine that makes up its own ids has no use for ours."""
        if answer.execution_id == command.execution_id:
            return []
        said = {"reason": f"it runs as '{answer.execution_id}'"}
        return [self._telling.event("execution.deleted", command.execution_id, command.workflow_id, said)]


def _word(who: Principal, seed: str) -> str:
    mark = blake2b(digest_size=_ID_BYTES, person=b"monitor-command")
    mark.update(msgspec.json.encode((who.team, who.token_id or who.name, seed)))
    return mark.hexdigest()
