"""Secrets as they turn up in executions, and what only looks like one: made up, equal in every run, and of no use.

Prefixes are put together from parts, so that nobody's scanner takes this file for a leak.
"""

import base64
import json
import random
import string
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote

COUNT: Final = 200

_ALNUM: Final = string.ascii_letters + string.digits
_URLSAFE: Final = _ALNUM + "-_"
_BASE64: Final = _ALNUM + "+/"


class Secret(NamedTuple):
    """A value that holds a secret."""

    kind: str
    where: str
    # What stands in an event's data.
    value: Any
    # These must be in nothing that leaves.
    needles: tuple[str, ...]


class LookAlike(NamedTuple):
    """A value that holds none: it must leave as it is."""

    kind: str
    value: Any


def secrets() -> list[Secret]:
    """Two hundred, of every kind that is documented, in every place."""
    return list(_some_secrets(random.Random(1)))


def look_alikes() -> list[LookAlike]:
    """Two hundred."""
    return list(_some_look_alikes(random.Random(2)))


# --- secrets ---------------------------------------------------------------------------------------------------------

Chance = random.Random


def _of(chance: Chance, letters: str, count: int) -> str:
    # With a digit, a capital and a small letter, as nearly all real ones of that length.
    text = "".join(chance.choices(letters, k=count - 3))
    return text + "".join(chance.choice(some) for some in (string.digits, string.ascii_uppercase, "bcdf"))


def _email(chance: Chance) -> str:
    local = chance.choice(("joe.bloggs", "a_b", "info+tag", "müller", "x", "Sales-Team", "o.n.e.1"))
    host = chance.choice(("example.com", "mail.example.co.uk", "ex-ample.org", "sub.exämple.de", "example.museum"))
    return f"{local}{chance.randrange(1000)}@{host}"


def _card(chance: Chance) -> str:
    start, length, groups = chance.choice(
        (
            *(("4", 16, (4, 4, 4, 4)), ("51", 16, (4, 4, 4, 4)), ("2221", 16, (4, 4, 4, 4)), ("37", 15, (4, 6, 5))),
            *(("36", 14, (4, 6, 4)), ("6011", 16, (4, 4, 4, 4)), ("3530", 16, (4, 4, 4, 4)), ("4", 13, ())),
            ("62", 19, ()),
        )
    )
    digits = start + "".join(chance.choices(string.digits, k=length - len(start) - 1))
    digits = next(digits + last for last in string.digits if _luhn_is_right(digits + last))
    joint = chance.choice(("", " ", "-")) if groups else ""
    at, parts = 0, []
    for size in groups or (length,):
        parts.append(digits[at : at + size])
        at += size
    return joint.join(parts)


def _luhn_is_right(digits: str) -> bool:
    """As ISO/IEC 7812-1 describes it, written apart from what is under test."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _jwt(chance: Chance) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()).decode().rstrip("=")
    body = base64.urlsafe_b64encode(json.dumps({"sub": _of(chance, _ALNUM, 12)}).encode()).decode().rstrip("=")
    return f"{head}.{body}.{_of(chance, _URLSAFE, 43)}"


def _pem(chance: Chance) -> str:
    name = chance.choice(("", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "))
    lines = "\n".join("MII" + _of(chance, _BASE64, 61) for _ in range(4))
    return f"-----BEGIN {name}PRIVATE " + f"KEY-----\n{lines}\n-----END {name}PRIVATE KEY-----"


def _aws_pair(chance: Chance) -> str:
    joint = chance.choice((",", " ", ":", " / "))
    key = "AK" + "IA" + "".join(chance.choices(string.ascii_uppercase + "234567", k=16))
    return f"{key}{joint}{_of(chance, _BASE64, 40)}"


def _basic(chance: Chance) -> str:
    return "Basic " + base64.b64encode(f"user:{_of(chance, _ALNUM, 14)}".encode()).decode()


MAKERS: Final[dict[str, Callable[[Chance], str]]] = {
    "email": _email,
    "card": _card,
    "jwt": _jwt,
    "private-key": _pem,
    "bearer": lambda chance: f"{chance.choice(('Bearer', 'bearer', 'BEARER'))} {_of(chance, _URLSAFE, 24)}",
    "basic": _basic,
    "aws": lambda chance: chance.choice(("AK", "AS")) + "IA" + "".join(chance.choices(string.ascii_uppercase, k=16)),
    "aws pair": _aws_pair,
    "google": lambda chance: "AI" + "za" + _of(chance, _URLSAFE, 35),
    "google oauth": lambda chance: "ya" + "29." + _of(chance, _URLSAFE, 60),
    "azure": lambda chance: "Account" + "Key=" + _of(chance, _BASE64, 86) + "==",
    "azure sas": lambda chance: "si" + "g=" + quote(_of(chance, _BASE64, 43) + "=", safe=""),
    "github": lambda chance: f"gh{chance.choice('pousr')}_" + _of(chance, _ALNUM, 36),
    "github fine-grained": lambda chance: "github" + "_pat_" + _of(chance, _ALNUM, 22) + "_" + _of(chance, _ALNUM, 59),
    "gitlab": lambda chance: "gl" + "pat-" + _of(chance, _URLSAFE, 20),
    "slack": lambda chance: (
        f"xo{chance.choice(('xb', 'xp', 'xa'))}-"
        + "-".join((str(chance.randrange(10**11)), str(chance.randrange(10**11)), _of(chance, _ALNUM, 24)))
    ),
    "slack hook": lambda chance: (
        f"https://hooks.{'slack'}.com/services/T{_of(chance, string.ascii_uppercase, 9)}"
        f"/B{_of(chance, string.ascii_uppercase, 9)}/{_of(chance, _ALNUM, 24)}"
    ),
    "stripe": lambda chance: f"{chance.choice('sr')}k_" + "live_" + _of(chance, _ALNUM, 24),
    "webhook": lambda chance: "wh" + "sec_" + _of(chance, _BASE64, 43) + "=",
    "openai": lambda chance: "sk" + chance.choice(("-proj-", "-ant-", "-")) + _of(chance, _ALNUM, 48),
    "sendgrid": lambda chance: "S" + "G." + _of(chance, _URLSAFE, 22) + "." + _of(chance, _URLSAFE, 43),
    "telegram": lambda chance: f"{chance.randrange(10**8, 10**10)}:A" + "A" + _of(chance, _URLSAFE, 33),
    "npm": lambda chance: "np" + "m_" + _of(chance, _ALNUM, 36),
    "pypi": lambda chance: "py" + "pi-" + _of(chance, _URLSAFE, 80),
    "hugging face": lambda chance: "h" + "f_" + _of(chance, _ALNUM, 34),
    "shopify": lambda chance: "sh" + "pat_" + "".join(chance.choices("0123456789abcdef", k=32)),
    "digitalocean": lambda chance: "do" + "p_v1_" + "".join(chance.choices("0123456789abcdef", k=64)),
    "password in an address": lambda chance: (
        f"{chance.choice(('postgres', 'https', 'redis'))}://app:{_of(chance, _ALNUM + '!$*', 16)}@db.internal:5432/x"
    ),
}

_STACK: Final = (
    "Error: request failed with {}\n    at Client.send (/app/node_modules/http/index.js:12:34)\n"
    "    at async Workflow.run (/app/src/run.ts:98:7)"
)

PLACES: Final[dict[str, Callable[[str], Any]]] = {
    "value": lambda text: text,
    "nested": lambda text: {"a": [{"b": {"c": [1, None, text]}}]},
    "log line": lambda text: f"2026-11-22T10:30:01.204Z WARN [http] retry 2/3 with {text}, giving up",
    "address": lambda text: f"GET https://api.example.com/v1/items?limit=10&with={quote(text, safe='')}&page=2",
    "many lines": lambda text: f"first line\r\n\tsecond: {text}\r\nthird line",
    "error": lambda text: {"type": "HttpError", "message": f"401 for '{text}'", "details": {"sent": f"<{text}>"}},
    "stack": lambda text: {"message": "failed", "stack": _STACK.format(text)},
    "JSON in a string": lambda text: json.dumps({"headers": [{"x": text}], "n": 1}),
    "other alphabets": lambda text: f"für Änderung №7 «{text}» – 完了 🚀",
    "a member's name": lambda text: {text: 1, "other": 2},
    "CSV": lambda text: f'id;name;value\n7;"x";"{text}"\n',
    "HTML": lambda text: f"<td>{text}</td>",
}

_NAMES: Final = (
    *("password", "Password", "PASSWORD", "userPassword", "user-password", "passwd", "PWD", "passphrase", "apiKey"),
    *(
        "API-Key",
        "x-api-key",
        "X_API_KEY",
        "clientSecret",
        "CLIENT_SECRET",
        "access_token",
        "accessToken",
        "Refresh-Token",
    ),
    *("id_token", "Authorization", "Set-Cookie", "private_key", "connectionString", "otp", "jwt", "secretAccessKey"),
    *("aws_secret_access_key", "accountKey", "signing-key", "db_password", "bot_token"),
)

_ASSIGNMENTS: Final = (
    "connect with {}={}; then go on",
    "https://api.example.com/v1?{}={}&page=2",
    'config: {{"{}": "{}", "n": 1}}',
    "export APP_{}='{}'",
    "{}: {}",
    "run --{} {} --verbose",
    "os.environ['{}'] = \"{}\"",
    'raised at {{\\"{}\\":\\"{}\\"}}',
)


def _some_secrets(chance: Chance) -> Iterator[Secret]:
    count = 0
    places = list(PLACES.items())
    while count < 130:
        for kind, make in MAKERS.items():
            where, put = places[(count * 7 + count // len(places)) % len(places)]
            secret = make(chance)
            yield Secret(kind, where, put(secret), needles(kind, secret))
            count += 1
            if count == 130:
                break
    for name in _NAMES:
        said: Any = chance.choice((_of(chance, _ALNUM, 12), [_of(chance, _ALNUM, 12)], {"x": _of(chance, _ALNUM, 12)}))
        yield Secret("name", name, {"user": "me", name: said, "n": 1}, tuple(_texts(said)))
        count += 1
    while count < COUNT:
        name, form = (
            chance.choice(("password", "api_key", "API-KEY", "secret", "access_token")),
            chance.choice(_ASSIGNMENTS),
        )
        said = _of(chance, _ALNUM, 14)
        yield Secret("pair", form, form.format(name, said), (said,))
        count += 1


def needles(kind: str, secret: str) -> tuple[str, ...]:
    """What must not be found: the core of it, also as addresses spell it."""
    return _core(kind, secret), quote(_core(kind, secret), safe="")


def _core(kind: str, secret: str) -> str:
    """The part of it that gives it away."""
    if kind == "email":
        return secret.partition("@")[0] + "@"
    if kind == "private-key":
        return secret.splitlines()[2]
    if kind == "password in an address":
        return secret.split(":")[2].partition("@")[0]
    if kind in ("bearer", "basic"):
        return secret.split(" ")[1]
    if kind == "aws pair":
        return secret[-40:]
    if kind in ("azure", "azure sas"):
        return secret.partition("=")[2][:40]
    return secret


def _texts(said: Any) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    else:
        for inner in said.values() if isinstance(said, dict) else said:
            yield from _texts(inner)


# --- look-alikes -----------------------------------------------------------------------------------------------------


def _order_number(chance: Chance) -> str:
    digits = chance.choice("23456") + "".join(chance.choices(string.digits, k=14))
    return next(digits + last for last in string.digits if not _luhn_is_right(digits + last))


def _foreign_number(chance: Chance) -> str:
    """A check digit that is right, of no issuer of cards."""
    digits = chance.choice("1789") + "".join(chance.choices(string.digits, k=14))
    return next(digits + last for last in string.digits if _luhn_is_right(digits + last))


def _hex(count: int) -> Callable[[Chance], str]:
    return lambda chance: "".join(chance.choices("0123456789abcdef", k=count))


_LOOK_ALIKES: Final[dict[str, Callable[[Chance], Any]]] = {
    "order number": lambda chance: f"order {_order_number(chance)} shipped",
    "order number as a number": lambda chance: {"orderId": int(_order_number(chance))},
    "number of no card": lambda chance: {"id": _foreign_number(chance)},
    "long number": lambda chance: "".join(chance.choices("123456789", k=24)),
    "fraction": lambda chance: f"ratio 0.{_order_number(chance)} of 1",
    "time in microseconds": lambda chance: {"at": 1_795_343_400_000_000 + chance.randrange(10**9)},
    "git hash": lambda chance: f"commit {_hex(40)(chance)}",
    "short hash": lambda chance: f"deployed {_hex(7)(chance)} to production",
    "digest": lambda chance: f"registry.example.com/app@sha256:{_hex(64)(chance)}",
    "UUID": lambda chance: str(uuid.UUID(int=chance.getrandbits(128), version=4)),
    "UUID of digits": lambda chance: "-".join(
        "".join(chance.choices(string.digits, k=size)) for size in (8, 4, 4, 4, 12)
    ),
    "image": lambda chance: "data:image/png;base64,iVBORw0KGgo" + _of(chance, _BASE64, 200) + "==",
    "package": lambda chance: f"npm install lodash@{chance.randrange(9)}.{chance.randrange(20)}.{chance.randrange(9)}",
    "package before its release": lambda chance: f"@acme/pkg@1.{chance.randrange(9)}.0-alpha.beta",
    "icon": lambda chance: f"/assets/logo{chance.randrange(9)}@2x.png",
    "repository": lambda chance: f"git@github.com:acme/repo{chance.randrange(99)}.git",
    "mention": lambda chance: f"thanks @alice{chance.randrange(99)}, done",
    "local address": lambda chance: f"root@worker-{chance.randrange(99)}",
    "version": lambda chance: f"v{chance.randrange(9)}.{chance.randrange(20)}.{chance.randrange(9)}-rc.1+build.5",
    "tokens": lambda chance: {"tokens": chance.randrange(9999), "tokenCount": 7, "max_tokens": 512},
    "words with token": lambda chance: f"tokenize the input into {chance.randrange(999)} tokens, then detokenize",
    "words about passwords": lambda chance: f"passwordless sign-in failed {chance.randrange(9)} times: wrong password.",
    "words about secrets": lambda chance: f"the secretary opened secrets.md in {chance.randrange(99)} ms",
    "bearer of news": lambda chance: f"bearer token required, attempt {chance.randrange(9)}",
    "basic plan": lambda chance: f"Basic subscription for {chance.randrange(99)} seats",
    "CSS": lambda chance: f"<div class='sk-fading-circle sk-circle{chance.randrange(99)}'>",
    "cursor": lambda chance: base64.urlsafe_b64encode(json.dumps({"id": chance.randrange(10**6)}).encode()).decode(),
    "certificate": lambda chance: (
        f"-----BEGIN CERTIFICATE-----\nMII{_of(chance, _BASE64, 61)}\n-----END CERTIFICATE-----"
    ),
    "public key": lambda chance: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5" + _of(chance, _BASE64, 48) + " deploy",
    "time": lambda chance: f"2026-11-22T10:{chance.randrange(10, 60)}:01.204567890Z",
    "address of a page": lambda chance: f"https://example.com:8443/a/b?id={chance.randrange(10**9)}#at",
    "phone": lambda chance: f"+49 170 {chance.randrange(10**6, 10**7)}",
    "network address": lambda chance: f"10.0.{chance.randrange(256)}.{chance.randrange(256)}:5432, fe80::1",
    "place": lambda chance: {"lat": chance.random() * 90, "lon": -chance.random() * 90},
    "key of a map": lambda chance: {"key": f"k{chance.randrange(999)}", "primaryKey": "id", "keys": ["a"]},
    "decorator": lambda chance: f"@app.route('/x{chance.randrange(99)}') def f(): ...",
    "short prefix": lambda chance: (
        f"ghp_{chance.randrange(999)} xoxo-1 AKIA{chance.randrange(99)} sk-{chance.randrange(99)}"
    ),
    "comparison": lambda chance: f"if token == expected and attempts < {chance.randrange(9)}:",
    "page of a list": lambda chance: f"next page: ?cursor={_of(chance, _URLSAFE, 20)}&limit=20",
    "author": lambda chance: {"author": "A. Key", "authorized": True, "cookies_accepted": chance.randrange(2) == 1},
}


def _some_look_alikes(chance: Chance) -> Iterator[LookAlike]:
    for _ in range(COUNT // len(_LOOK_ALIKES)):
        for kind, make in _LOOK_ALIKES.items():
            yield LookAlike(kind, make(chance))
