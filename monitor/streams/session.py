"""The stream protocol without I/O: one message in, one decision out.

Messages are JSON objects with a `type`: `subscribe`, `change`, `unsubscribe`, `ping`; an `id` is echoed in the answer.
A message that cannot be obeyed is answered by `stream.error` and changes nothing; only one that is too large ends the
connection. Sessions with the same subscriptions, in whatever order and under whatever names, have equal selections.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple

from monitor.errors import ClientError, InvalidPosition, InvalidRequest, LimitReached
from monitor.events.codec import parse_time_us
from monitor.events.position import Position
from monitor.fanout.channels import ACTIVE, MAX_ROWS, Selection, SnapshotWish, Subscription
from monitor.fanout.controls import Answered, Subscribed, Unsubscribed
from monitor.streams.messages import (
    NOTHING,
    altered,
    problem_members,
    read_channels,
    read_document,
    read_echo,
    read_name,
)
from monitor.streams.questions import QUESTIONS

MAX_SUBSCRIPTIONS: Final = 100
"""Of one connection: more than any page shows at a time."""

MAX_CHANNELS: Final = 1000
"""Of one connection, over all of its subscriptions: the executions of a long list, each by name."""

MAX_MESSAGE_CHARACTERS: Final = 64 * 1024


class Farewell(NamedTuple):
    """How a WebSocket is closed (RFC 6455, 7.4)."""

    code: int
    # What it tells the client to do.
    doc: str


_COME_BACK: Final = "come back with the last position"

FAREWELLS: Final[Mapping[str, Farewell]] = {
    "ended": Farewell(1000, "The execution has ended, and its log is complete: nothing follows."),
    "drain": Farewell(4000, f"The process ends: {_COME_BACK}."),
    "unauthorized": Farewell(4001, "The token is good no more, or was none: not without another one."),
    "slow": Farewell(4008, f"The client took nothing for long: {_COME_BACK}."),
    "protocol": Farewell(4400, "What was asked for cannot be had: not without a change."),
    "too_large": Farewell(1009, "A message of the client was too long: not without a change."),
    "unavailable": Farewell(1013, f"Not now: {_COME_BACK}."),
}
"""By the reasons for which a connection ends."""


class Since(NamedTuple):
    """Begin with what was stored at this time."""

    time_us: int


Start = Position | Since | Literal["now", "earliest"] | None
"""Where a subscription begins; None = where the connection stands."""

OpenToken = Callable[[str], Position]
"""The position in a token. Raises InvalidPosition."""


class Showing(NamedTuple):
    """Which snapshots a subscriber wants: at first, and after a loss. None = none."""

    first: SnapshotWish | None = None
    after_loss: SnapshotWish | None = ACTIVE


UNSAID: Final = Showing()
"""What who says nothing wants."""


class Reply(NamedTuple):
    """Answer with this control frame."""

    name: str
    members: Mapping[str, Any]


class Select(NamedTuple):
    """Attach anew, then answer with `reply` and the position from which everything selected is delivered."""

    selection: Selection
    start: Start
    reply: Reply
    # What to show first if there is no `start`; None = nothing.
    snapshot: SnapshotWish | None = None
    # Of these subscriptions only: the others were shown already. None = of all.
    shown: frozenset[Subscription] | None = None
    # What to show after a gap or a reset.
    on_loss: SnapshotWish | None = ACTIVE


class Close(NamedTuple):
    """End the connection for this reason (a key of FAREWELLS)."""

    reason: str


Decision = Reply | Select | Close


class _Wanted(NamedTuple):
    """One subscription as its owner made it."""

    name: str | None
    subscription: Subscription
    after_loss: SnapshotWish | None


class Session:
    """What one client has subscribed to. `receive` is called with every message, in order."""

    def __init__(self, team: str, open_token: OpenToken) -> None:
        self.selection = Selection(team)
        self._open_token = open_token
        self._wanted: tuple[_Wanted, ...] = ()

    def receive(self, message: str | bytes) -> Decision:
        """What to do about a message; the selection is changed already when it says Select."""
        if len(message) > MAX_MESSAGE_CHARACTERS:
            return Close("too_large")
        echo: Answered = {}
        try:
            document = read_document(message)
            echo = read_echo(document)
            return self._obey(document, echo)
        except ClientError as error:
            return Reply("stream.error", {**problem_members(error), **echo})

    def subscribe(
        self,
        subscription: Subscription,
        start: Start,
        showing: Showing = UNSAID,
        *,
        name: str | None = None,
        echo: Answered | None = None,
    ) -> Select:
        """Add a subscription, in the place of the one that has this name. Raises LimitReached."""
        # A snapshot is of now, and the stream goes on at its cut.
        start = None if start == "now" and showing.first else start
        wanted = _Wanted(name, subscription, showing.after_loss)
        # Who asked for everything there is gets imported history as well, as long as the connection lives.
        self._keep([*self._wanted, wanted], backfill=self.selection.backfill or start == "earliest")
        members = Subscribed(channels=sorted(subscription.channels))
        if echo:
            members["id"] = echo["id"]
        if name:
            members["name"] = name
        return Select(
            self.selection,
            start,
            Reply("stream.subscribed", members),
            snapshot=showing.first,
            shown=frozenset({subscription}) if showing.first and len(self._wanted) > 1 else None,
            on_loss=self._after_loss(),
        )

    def _obey(self, document: Mapping[str, Any], echo: Answered) -> Decision:
        kind = document.get("type")
        known = _MEMBERS.get(kind) if isinstance(kind, str) else None
        if known is None:
            raise InvalidRequest(f"unknown type; known are {', '.join(_MEMBERS)}", field="type")
        if unknown := document.keys() - {"type", *known}:
            member = min(unknown)
            raise InvalidRequest(f"'{kind}' takes {', '.join(known)}, not '{member}'", field=member)
        if kind == "ping":
            return Reply("stream.pong", echo)
        if kind == "unsubscribe":
            return self._unsubscribe(document, echo)
        if kind == "change":
            return self._change(document, echo)
        showing = read_showing(document.get("snapshot"))
        subscription, name = altered(NOTHING, document), read_name(document)
        if not subscription.channels:
            raise InvalidRequest("'channels' is missing", field="channels")
        return self.subscribe(subscription, self._start(document), showing, name=name, echo=echo)

    def _change(self, document: Mapping[str, Any], echo: Answered) -> Select:
        """Alter the members that are given; the others stay, and without `snapshot` nothing is shown anew."""
        before = self._named(document)
        subscription = altered(before.subscription, document)
        showing = Showing(None, before.after_loss)
        if "snapshot" in document:
            showing = read_showing(document["snapshot"])
        return self.subscribe(subscription, self._start(document), showing, name=before.name, echo=echo)

    def _unsubscribe(self, document: Mapping[str, Any], echo: Answered) -> Select:
        """Take channels, or all of them, out of one subscription or of each. Those without any left are gone."""
        named = self._named(document) if document.get("name") is not None else None
        said = document.get("channels")
        gone = self.selection.channels if said is None else read_channels(said)
        affected = self._wanted if named is None else (named,)
        left = [_without(it, gone) if it in affected else it for it in self._wanted]
        self._keep([it for it in left if it.subscription.channels], backfill=self.selection.backfill)
        members = Unsubscribed(channels=sorted(self.selection.channels))
        if echo:
            members["id"] = echo["id"]
        if named is not None and named.name:
            members["name"] = named.name
        return Select(self.selection, None, Reply("stream.unsubscribed", members), on_loss=self._after_loss())

    def _keep(self, wanted: Iterable[_Wanted], *, backfill: bool) -> None:
        """Have these subscriptions from now on; of equal ones, and of those with one name, the last."""
        kept = tuple({it.name or it.subscription: it for it in wanted}.values())
        if len(kept) > MAX_SUBSCRIPTIONS:
            raise LimitReached(f"a connection takes at most {MAX_SUBSCRIPTIONS} subscriptions", limit=MAX_SUBSCRIPTIONS)
        if sum(len(it.subscription.channels) for it in kept) > MAX_CHANNELS:
            raise LimitReached(
                f"a connection takes at most {MAX_CHANNELS} channels", field="channels", limit=MAX_CHANNELS
            )
        self._wanted = kept
        self.selection = Selection(self.selection.team, frozenset(it.subscription for it in kept), backfill)

    def _after_loss(self) -> SnapshotWish | None:
        """One for all subscriptions: what is in flight if any of them wants that, else the most that one wants."""
        wishes = [it.after_loss for it in self._wanted if it.after_loss is not None]
        return ACTIVE if ACTIVE in wishes else max(wishes, key=lambda wish: wish.limit, default=None)

    def _named(self, document: Mapping[str, Any]) -> _Wanted:
        name = read_name(document)
        for wanted in self._wanted:
            if name is not None and wanted.name == name:
                return wanted
        raise InvalidRequest("'name' names no subscription of this connection", field="name")

    def _start(self, document: Mapping[str, Any]) -> Start:
        return read_start(document.get("position"), self._open_token)


def read_start(said: object, open_token: OpenToken) -> Start:
    """The start that somebody names: a token, a time, `now`, `earliest`, or nothing. Raises InvalidPosition."""
    if said is None:
        return None
    if said == "now":
        return "now"
    if said == "earliest":
        return "earliest"
    try:
        if not isinstance(said, str):
            raise InvalidPosition
        # No token has a colon, every time has.
        return Since(parse_time_us(said)) if ":" in said else open_token(said)
    except InvalidPosition as error:
        raise InvalidPosition(error.message, field="position") from None
    except ValueError as error:
        raise InvalidPosition(f"'position' {error}", field="position") from None


def read_showing(said: object) -> Showing:
    """The snapshots that somebody asks for: `none`, `active`, `recent:N`, or nothing. Raises InvalidRequest."""
    if said is None:
        return UNSAID
    if said == "none":
        return Showing(None, None)
    if said == "active":
        return Showing(ACTIVE, ACTIVE)
    found = _RECENT.fullmatch(said) if isinstance(said, str) else None
    if found is None or int(found[1]) > MAX_ROWS:
        raise InvalidRequest(f"'snapshot' is none, active or recent:N with N from 1 to {MAX_ROWS}", field="snapshot")
    recent = SnapshotWish("recent", int(found[1]))
    return Showing(recent, recent)


_RECENT: Final = re.compile(r"recent:([1-9][0-9]{0,3})")


def _without(wanted: _Wanted, gone: frozenset[str]) -> _Wanted:
    subscription = wanted.subscription
    return wanted._replace(subscription=replace(subscription, channels=subscription.channels - gone))


_MEMBERS: Final = {name: tuple(question.__annotations__) for name, question in QUESTIONS.items()}
