"""Masking: what must not leave becomes `***` where a member's name says so, and its kind (`[email]`) where it shows.

A rule is a member's name (`password`), which counts at every depth; or the last names of a path (`customer.iban`,
`*.email`), where `*` is any one name and lists count as nothing; or a kind (`type:card`, `type:*`), which is found
inside any string. Letters A to Z fit in either case, and `_` also stands for `-` and for nothing: `api_key` finds
`apiKey` and `API-Key`. With `-` in front a rule takes out: what it fits is shown as it is, with everything in it. Of
several rules that fit, the last one holds.
Promises: never touches what it is given, adds and removes no member, never fails, and costs an event in which nothing
is suspicious next to nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, AnyStr, Final

import msgspec
from msgspec.structs import replace

from monitor.access.looks import KINDS
from monitor.access.mask import Mask
from monitor.access.mask_rules import Rules, combined, folded, rule_of
from monitor.access.mask_text import HEADERS, MASK, Answers
from monitor.access.suspicion import Suspicion
from monitor.events.model import Event, Poison

DEFAULT_NAMES: Final = (
    # What people prove with who they are.
    *("password", "passwd", "pwd", "passphrase", "new_password", "old_password", "user_password", "db_password"),
    # What programs prove it with.
    *("secret", "secret_key", "client_secret", "api_secret", "webhook_secret", "shared_secret"),
    *("api_key", "x_api_key", "access_key", "secret_access_key", "aws_secret_access_key", "account_key"),
    *("private_key", "signing_key", "encryption_key", "master_key", "connection_string"),
    # What stands for either, for a while.
    *("token", "access_token", "refresh_token", "id_token", "auth_token", "api_token", "bearer_token", "session_token"),
    *("security_token", "csrf_token", "bot_token", "x_auth_token", "x_amz_security_token", "jwt", "otp"),
    # Headers that carry one of these.
    *HEADERS,
)
"""Names that hold secrets wherever they stand. What else is private, such as an IBAN, each house knows for itself."""

DEFAULT_RULES: Final = (*DEFAULT_NAMES, "type:*")
"""The names, and every kind: whoever wants to see addresses or numbers says so."""

_IDS: Final = ("nodeId", "commandId", "retryOf")
_STATE: Final = (
    *("status", "kind", "iteration", "attempt", "retryCount", "duration", "nodeCount", "completed", "total", "final"),
    *("provisional", "asOf", "heartbeat", "deadlineAt", "until"),
)
"""Members of `data` that say what a fact is about and what happened: no rule changes an execution's course."""

_OF_LINES: Final = ("timestamp", "level", "nodeId")
_OF_PARENTS: Final = ("executionId", "nodeId", "workflowId")

_MASKS: Final = re.compile("|".join(map(re.escape, (MASK, *(f"[{kind}]" for kind in KINDS)))).encode())

_MOST_WORKFLOWS: Final = 1000
"""Remembered with the rules that hold for them."""


def rules_of(setting: str) -> tuple[str, ...]:
    """The rules that a setting names, separated by commas: behind a leading `+` in addition to the default ones."""
    named = tuple(rule for part in setting.removeprefix("+").split(",") if (rule := part.strip()))
    return (*DEFAULT_RULES, *named) if setting.startswith("+") else named


class Masking:
    """The rules of a deployment, and of workflows of it. No rules: nothing in events is masked."""

    def __init__(self, rules: Iterable[str], by_workflow: Mapping[str, Iterable[str]] | None = None) -> None:
        """`by_workflow`: more rules, by a workflow's id, in which `*` stands for any characters.

        Raises SettingsInvalid for a kind that is none.
        """
        general = [rule_of(said) for said in rules]
        special = {workflow: [rule_of(said) for said in more] for workflow, more in (by_workflow or {}).items()}
        self._general, self._special = general, special
        self._masks: dict[str, Mask] = {}
        # An event that names no workflow may be of any: it is masked as for all of them.
        self._unnamed = Mask(combined(general, special))
        words, kinds = self._unnamed.rules.words, self._unnamed.rules.kinds
        each = [Rules([*general, *more]) for more in special.values()]
        self._suspicion = Suspicion(
            words.union(*(rules.words for rules in each)), {*kinds, *(kind for rules in each for kind in rules.kinds)}
        )
        self._answers = Answers(Rules(general).words)

    def masked(self, value: Any, within: Sequence[str] = ()) -> Any:
        """`value`, decoded from JSON, without what a rule of the deployment fits; itself where none does.

        `within` names the members around it, the outermost first. What is masked shares all else with `value`.
        """
        return self._rules_for("").value(value, tuple(map(folded, within)))

    def masked_events(self, events: Sequence[Event | Poison]) -> list[Event | Poison]:
        """The same, without what must not leave; what is no event stays as it is."""
        shown = list(events)
        for place in self._suspicion.among([event.record.value or b"" for event in events]):
            event = events[place]
            if isinstance(event, Event):
                shown[place] = self.masked_event(event)
        return shown

    def masked_event(self, event: Event) -> Event:
        """The event with masked `data`, itself where no rule fits. What it is about and what happened stays."""
        shown = self._unnamed if event.workflow_id is None else self._rules_for(event.workflow_id)
        data = shown.value(event.data, (b"data",))
        return event if data is event.data else replace(event, data=_with_course(event, data, shown))

    def may_hold(self, document: bytes) -> bool:
        """Whether something could be masked in what `document` holds, JSON or text; never false when it is."""
        return self._suspicion.of(document)

    def masked_text(self, text: AnyStr, secrets: Iterable[bytes] = ()) -> AnyStr:
        """Any text or bytes, such as a stranger's answer, without `secrets` and without what looks like one.

        `secrets` are found as they are and in base64, also when `text` ends in the middle of one. Members count by
        their last name; one that holds more than a flat list or object hides all that follows.
        """
        if isinstance(text, str):
            return self._masked_bytes(text.encode(errors="replace"), secrets).decode(errors="replace")
        return self._masked_bytes(text, secrets)

    def masked_record(self, value: bytes) -> bytes:
        """A record's bytes that hold no event, by what they are as JSON and as text.

        By the rules of every workflow, for it may be of any.
        """
        return self._unnamed.raw(self._answers.masked(self._masked_json(value), ()))

    def _masked_json(self, value: bytes) -> bytes:
        try:
            document = msgspec.json.decode(value)
            shown = self._unnamed.value(document, ())
            return value if shown is document else msgspec.json.encode(shown)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
            return value

    def _masked_bytes(self, text: bytes, secrets: Iterable[bytes]) -> bytes:
        return self._rules_for("").raw(self._answers.masked(text, secrets))

    def _rules_for(self, workflow_id: str) -> Mask:
        found = self._masks.get(workflow_id)
        if found is None:
            if len(self._masks) >= _MOST_WORKFLOWS:
                self._masks.clear()
            fitting = (more for glob, more in self._special.items() if _is_like(glob, workflow_id))
            found = self._masks[workflow_id] = Mask(
                Rules([*self._general, *(rule for more in fitting for rule in more)])
            )
        return found


def shows_masks(document: bytes) -> bool:
    """Whether something in it looks masked; never false for what was."""
    return _MASKS.search(document) is not None


def _is_like(glob: str, workflow_id: str) -> bool:
    return fnmatchcase(workflow_id, glob.replace("[", "[[]").replace("?", "[?]"))


def _with_course(event: Event, data: dict[str, Any], mask: Mask) -> dict[str, Any]:
    """`data` after masking, with what the fold relies on as it was."""
    told = event.data
    kept: dict[str, Any] = {name: told[name] for name in _IDS if name in told}
    for name in _STATE:
        said = told.get(name)
        if name in told and not isinstance(said, dict | list):
            kept[name] = mask.text(said) if isinstance(said, str) else said
    if "parent" in told:
        kept["parent"] = _with(told["parent"], data.get("parent"), _OF_PARENTS)
    if event.type == "log.appended":
        kept["lines"] = _lines(told["lines"], data.get("lines"))
    return data | kept


def _lines(told: list[dict[str, Any]], shown: object) -> list[dict[str, Any]]:
    """Lines stay lines, each with a message, also where they are hidden as a whole."""
    if not isinstance(shown, list):
        shown = [MASK] * len(told)
    hidden = {"message": MASK}
    return [
        _with(line, seen if isinstance(seen, dict) else hidden, _OF_LINES)
        for line, seen in zip(told, shown, strict=True)
    ]


def _with(told: Any, shown: Any, names: Sequence[str]) -> Any:
    """`shown`, but for the members of these names."""
    if not isinstance(told, dict) or not isinstance(shown, dict):
        return shown
    return shown | {name: told[name] for name in names if name in told}
