"""Secrets in text that is no JSON of ours: behind a name (`password=...`), in headers, and in strangers' answers."""

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import quote_from_bytes

import msgspec

from monitor.access.looks import Replace, by

MASK: Final = "***"

HEADERS: Final = ("authorization", "proxy_authorization", "cookie", "set_cookie")
"""Names of headers that prove who asks."""

_SHORTEST_SECRET_BYTES: Final = 4
"""Anything shorter is found in every text, and gives nothing away."""

_STRING: Final = rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
_QUOTED: Final = rb"'(?:[^'\\]++|\\.)*+(?:'|\\?\Z)"
_FLAT: Final = rb"[\[{](?:[^\"\[\]{}]++|" + _STRING + rb")*+[\]}]"
_VALUE: Final = b"(?:%b|%b|%b|[\\[{].*|[^\\s,\\]}]++)" % (_STRING, _QUOTED, _FLAT)
"""A JSON value, or one as Python prints it, also where the text ends inside. Nothing in it is matched a second time."""

_HEADER_LINES: Final = (
    # On a line of its own or inside some other text. With a scheme that is not known it ends with its line.
    by(
        rb"\b((?:proxy-)?authorization[ \t]*+:[ \t]*+)(?:(?:basic|bearer|token)[ \t]++[^\s\"'\\<>,;]++|[^\r\n<]++)",
        rb"\1***",
        re.IGNORECASE,
    ),
    by(rb"\b((?:set-)?cookie:[ \t]*+)[^\r\n<]++", rb"\1***", re.IGNORECASE),
)

_OF_ANSWERS: Final = (
    # The secret of an endpoint; some writers of JSON put a backslash before each slash.
    by(rb"whsec_[\w+/=\\-]*+", rb"***"),
    *_HEADER_LINES,
    by(rb"\b(bearer\s++)[\w.~+/=\\-]++", rb"\1***", re.IGNORECASE),
)
"""What a stranger says back is no text that anybody wrote for people: here a word too much costs nothing."""


def pairs(words: Iterable[bytes]) -> list[tuple[bytes, Replace]]:
    """What shows `***` for the values of these names in text, each with a mark without which it finds nothing.

    They are values of members (JSON, also within a string of JSON), headers, forms, settings and commands.
    """
    spelt = _spelt(words)
    if not spelt:
        return []
    name, any_case = b"(?:%b)" % one_of(spelt), re.IGNORECASE
    nested = rb"((\\{1,7}[\"'])%b\2\s{0,8}+:\s{0,8}+)(?:\2(?:(?!\2).)*+(?:\2|\Z)|[^\s,\\\]}]++)" % name
    assigned = (
        rb"(?<![A-Za-z0-9])(%b[\"'\]\\]{0,6}[ \t]{0,8}(?:=>?|:=)(?!=)[ \t]{0,8})"
        rb"(?:%b|%b|\\{1,7}[\"'][^\"'\\]*+|[^\s\"'&;,<>)\]}]++)"
        % (
            name,
            _STRING,
            _QUOTED,
        )
    )
    commanded = rb"(?<![\w-])(--%b[ \t]{1,8})[^\s\"'-][^\s\"']*+" % name
    on_a_line = rb"^([ \t-]{0,64}+%b[ \t]{0,8}:[ \t]{1,8})\S++(?=[ \t\r]{0,64}$)" % name
    # Behind a colon in the middle of a sentence often stands a word: quotes, or a digit among letters, make it a value.
    said = rb"(?<![A-Za-z0-9])(%b:[ \t]{1,8})(?:%b|%b|(?=\S{0,64}?[0-9])(?=\S{0,64}?[A-Za-z])[^\s\"'<>,;()]{8,}+)" % (
        name,
        _STRING,
        _QUOTED,
    )
    return [
        (b":", _members(spelt)),
        (b"\\", by(nested, rb"\1\2***\2", any_case | re.DOTALL)),
        *((b":", header) for header in _HEADER_LINES),
        (b"=", by(assigned, rb"\1***", any_case | re.DOTALL)),
        (b"--", by(commanded, rb"\1***", any_case)),
        (b":", by(said, rb"\1***", any_case | re.DOTALL)),
        (b":", by(on_a_line, rb"\1***", any_case | re.MULTILINE)),
    ]


class Answers:
    """What may be kept of what strangers say back."""

    def __init__(self, words: Iterable[bytes]) -> None:
        """`words`: the names of members that are hidden."""
        headers = {header.replace("_", joint).encode() for header in HEADERS for joint in ("_", "-", "")}
        self._looks = (*_OF_ANSWERS, _members(_spelt({*words, *headers})))

    def masked(self, text: bytes, secrets: Iterable[bytes]) -> bytes:
        """`text` without `secrets`, in whatever form it says them, without headers and hidden members."""
        # No form is shorter than its secret: most answers are too short for any.
        held = (secret for secret in secrets if _SHORTEST_SECRET_BYTES <= len(secret) <= len(text))
        forms = {form for secret in held for form in _forms(secret)}
        # The longest first: some begin with others.
        for form in sorted(forms, key=len, reverse=True):
            text = _without(form, text)
        for look in self._looks:
            text = look(text)
        return text


def _members(words: Sequence[bytes]) -> Replace:
    """Members with one of these names: everything up to its value, the quote that it uses, and the value."""
    name = b"(?:[^\"'\\\\]*+)" if b"" in words else one_of(words)
    return by(rb"((['\"])%b\2\s*+:\s*+)%b" % (name, _VALUE), rb"\1\2***\2", re.IGNORECASE | re.DOTALL)


def _spelt(words: Iterable[bytes]) -> list[bytes]:
    """Names as JSON spells them."""
    return sorted({msgspec.json.encode(word.decode(errors="replace"))[1:-1] for word in words})


def one_of(words: Iterable[bytes]) -> bytes:
    """A pattern for any of `words` that looks at no letter twice: `re` would try each word from its beginning."""
    tails: dict[bytes, list[bytes]] = {}
    for word in words:
        tails.setdefault(word[:1], []).append(word[1:])
    ends_here = tails.pop(b"", None)
    branches = [re.escape(head) + one_of(rest) for head, rest in sorted(tails.items())]
    if len(branches) < 2 and not ends_here:
        return b"".join(branches)
    return b"(?:%b)%b" % (b"|".join(branches), b"?" if ends_here else b"")


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
