"""Masking: what must not leave becomes `***`; in events by the names of members, in text also by its looks.

A rule is a member's name (`password`), which counts at every depth, or the last names of a path (`customer.iban`,
`*.email`); `*` is any one name, lists count as nothing. Letters A to Z fit in either case, and `_` also stands for `-`
and for nothing: `api_key` finds `apiKey` and `API-Key`. Values are left as they are: text inside a string is no member.
Promises: never touches what it is given, and costs an event without such names next to nothing (`may_hold`).
"""

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, AnyStr, Final
from urllib.parse import quote_from_bytes

import msgspec

MASK: Final = "***"

_HEADERS: Final = ("authorization", "proxy_authorization", "cookie", "set_cookie")

DEFAULT_RULES: Final = (
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
    *_HEADERS,
)
"""Names that hold secrets wherever they stand. What else is private, such as an IBAN, each house knows for itself."""

_ANY: Final = "*"

_SHORTEST_SECRET_BYTES: Final = 4
"""Anything shorter is found in every text, and gives nothing away."""

_Spellings = frozenset[bytes]
_Rule = Sequence[_Spellings | None]
"""By name of the path; None for any."""


def rules_of(setting: str) -> tuple[str, ...]:
    """The rules that a setting names, separated by commas: behind a leading `+` in addition to the default ones."""
    named = tuple(rule for part in setting.removeprefix("+").split(",") if (rule := part.strip()))
    return (*DEFAULT_RULES, *named) if setting.startswith("+") else named


class Masking:
    """The rules of a deployment. No rules: nothing in events is masked."""

    def __init__(self, rules: Iterable[str]) -> None:
        compiled = [[None if name == _ANY else _spellings(name) for name in rule.split(".")] for rule in rules]
        self._names = frozenset[bytes]().union(*(rule[0] for rule in compiled if len(rule) == 1 and rule[0]))
        self._paths = [rule for rule in compiled if len(rule) > 1 or rule[0] is None]
        self._names_backwards = re.compile(_backwards(_words(compiled))) if compiled else None
        headers = ([_spellings(name)] for name in _HEADERS)
        self._looks = (*_LOOKS, (_members(_words([*compiled, *headers])), rb"\1\2***\2"))

    def masked(self, value: Any, within: Sequence[str] = ()) -> Any:
        """`value`, decoded from JSON, with `***` in place of every member that a rule fits; itself where none does.

        `within` names the members around it, the outermost first. What is masked shares all else with `value`.
        """
        return self._masked(value, tuple(map(_folded, within)))

    def may_hold(self, document: bytes) -> bool:
        """Whether `masked` could find something in what `document` holds; rarely true when it does not, never false
        when it does.

        `document` is JSON as msgspec and orjson write it: without blanks, names without needless escapes.
        """
        names = self._names_backwards
        return names is not None and names.search(document.lower()[::-1]) is not None

    def masked_text(self, text: AnyStr, secrets: Iterable[bytes] = ()) -> AnyStr:
        """Any text or bytes, such as a stranger's answer, without `secrets` and without what looks like one.

        `secrets` are found as they are and in base64, also when `text` ends in the middle of one. Members count by
        their last name; one that holds more than a flat list or object hides all that follows.
        """
        if isinstance(text, str):
            return self._masked_bytes(text.encode(errors="replace"), secrets).decode(errors="replace")
        return self._masked_bytes(text, secrets)

    def _masked(self, value: Any, path: tuple[bytes, ...]) -> Any:
        if isinstance(value, dict):
            found = {}
            for name, inner in value.items():
                at = (*path, _folded(name))
                shown = MASK if self._hides(at) else self._masked(inner, at)
                if shown is not inner:
                    found[name] = shown
            return value | found if found else value
        if isinstance(value, list):
            items = [self._masked(item, path) for item in value]
            return items if any(shown is not item for shown, item in zip(items, value, strict=True)) else value
        return value

    def _hides(self, path: tuple[bytes, ...]) -> bool:
        return path[-1] in self._names or any(_fits(rule, path) for rule in self._paths)

    def _masked_bytes(self, text: bytes, secrets: Iterable[bytes]) -> bytes:
        # No form is shorter than its secret: most answers are too short for any.
        held = (secret for secret in secrets if _SHORTEST_SECRET_BYTES <= len(secret) <= len(text))
        forms = {form for secret in held for form in _forms(secret)}
        # The longest first: some begin with others.
        for form in sorted(forms, key=len, reverse=True):
            text = _without(form, text)
        for look, shown in self._looks:
            text = look.sub(shown, text)
        return text


# --- names -----------------------------------------------------------------------------------------------------------


def _folded(name: str) -> bytes:
    """As names are compared. Of bytes, `lower` touches A to Z alone: what it does not unite, a search does not miss."""
    return name.encode(errors="surrogatepass").lower()


def _spellings(name: str) -> _Spellings:
    return frozenset(_folded(name.replace("_", joint)) for joint in ("_", "-", ""))


def _fits(rule: _Rule, path: Sequence[bytes]) -> bool:
    ends = zip(reversed(rule), reversed(path), strict=False)
    return len(rule) <= len(path) and all(names is None or name in names for names, name in ends)


def _words(rules: Iterable[_Rule]) -> list[bytes]:
    """The names, as JSON spells them, of which one must stand in whatever a rule fits: of a path the last one.

    Empty among them: a rule of stars alone fits everything.
    """
    last_names = (next((names for names in reversed(rule) if names is not None), frozenset({b""})) for rule in rules)
    return sorted({msgspec.json.encode(name.decode())[1:-1] for names in last_names for name in names})


# --- searching -------------------------------------------------------------------------------------------------------


def _backwards(words: Sequence[bytes]) -> bytes:
    """Finds one of `words` as a member's name in compact JSON that is read from its end.

    From that side a name begins with `:"`, which is a quarter as frequent as the quote it begins with from the other.
    """
    return b"" if b"" in words else b':"%b"' % _one_of(word[::-1] for word in words)


def _one_of(words: Iterable[bytes]) -> bytes:
    """A pattern for any of `words` that looks at no letter twice: `re` would try each word from its beginning."""
    tails: dict[bytes, list[bytes]] = {}
    for word in words:
        tails.setdefault(word[:1], []).append(word[1:])
    ends_here = tails.pop(b"", None)
    branches = [re.escape(head) + _one_of(rest) for head, rest in sorted(tails.items())]
    if len(branches) < 2 and not ends_here:
        return b"".join(branches)
    return b"(?:%b)%b" % (b"|".join(branches), b"?" if ends_here else b"")


_STRING: Final = rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
_QUOTED: Final = rb"'(?:[^'\\]++|\\.)*+(?:'|\\?\Z)"
_FLAT: Final = rb"[\[{](?:[^\"\[\]{}]++|" + _STRING + rb")*+[\]}]"
_VALUE: Final = b"(?:%b|%b|%b|[\\[{].*|[^\\s,\\]}]++)" % (_STRING, _QUOTED, _FLAT)
"""A JSON value, or one as Python prints it, also where the text ends inside. Nothing in it is matched a second time."""


def _members(words: Sequence[bytes]) -> re.Pattern[bytes]:
    """A member with one of these names: everything up to its value, the quote that it uses, and the value."""
    name = b"(?:[^\"'\\\\]*+)" if b"" in words else _one_of(words)
    return re.compile(rb"((['\"])%b\2\s*+:\s*+)%b" % (name, _VALUE), re.IGNORECASE | re.DOTALL)


_LOOKS: Final = (
    # The secret of an endpoint; some writers of JSON put a backslash before each slash.
    (re.compile(rb"whsec_[\w+/=\\-]*+"), rb"***"),
    # A header, on a line of its own or inside some other text. With a scheme that is not known it ends with its line.
    (
        re.compile(
            rb"\b((?:proxy-)?authorization[ \t]*+:[ \t]*+)(?:(?:basic|bearer|token)[ \t]++[^\s\"'\\<>,;]++|[^\r\n<]++)",
            re.IGNORECASE,
        ),
        rb"\1***",
    ),
    (re.compile(rb"\b((?:set-)?cookie:[ \t]*+)[^\r\n<]++", re.IGNORECASE), rb"\1***"),
    (re.compile(rb"\b(bearer\s++)[\w.~+/=\\-]++", re.IGNORECASE), rb"\1***"),
)
"""What gives itself away in any text, and what is shown instead."""


# --- secrets ---------------------------------------------------------------------------------------------------------


def _forms(secret: bytes) -> Iterator[bytes]:
    """A secret as receivers may say it back: itself, in base64, and each of them as JSON and URLs spell it."""
    standard, urlsafe = b64encode(secret), urlsafe_b64encode(secret)
    for form in {secret, standard, standard.rstrip(b"="), urlsafe, urlsafe.rstrip(b"=")}:
        escaped = form.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        yield from (form, escaped, escaped.replace(b"/", b"\\/"), quote_from_bytes(form, safe="").encode())


def _without(secret: bytes, text: bytes) -> bytes:
    text = text.replace(secret, MASK.encode())
    at = text.rfind(secret[:_SHORTEST_SECRET_BYTES], max(0, len(text) - len(secret)))
    return text[:at] + MASK.encode() if at >= 0 and secret.startswith(text[at:]) else text
