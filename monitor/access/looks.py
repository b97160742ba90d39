"""Looks: what gives itself away in any text, such as an e-mail address or a key of a known vendor, by kind.

Each kind has a pattern for what is shown instead (`[email]`), and marks without which it cannot be there: they let
`masking` pass by nearly everything. Every pattern takes time that grows with its text alone: no character is looked at
again and again, however hostile the text (possessive or short repetitions, no two that overlap).
"""

import re
from collections.abc import Callable, Mapping
from re import Match
from typing import Final, NamedTuple

Replace = Callable[[bytes], bytes]


class Kind(NamedTuple):
    """One kind of what must not leave."""

    about: str
    replace: Replace
    # Of these one stands in every text that holds one, as it is written ...
    marks: tuple[str, ...] = ()
    # ... or of these, in small letters and with a 0 for every digit.
    folded_marks: tuple[str, ...] = ()


def by(pattern: bytes, shown: bytes, flags: int = 0) -> Replace:
    """Shows `shown` in place of what `pattern` finds."""
    compiled = re.compile(pattern, flags)
    return lambda text: compiled.sub(shown, text)


# --- cards -----------------------------------------------------------------------------------------------------------

_CARD: Final = re.compile(
    rb"(?:(?<![0-9A-Za-z_])(?<![0-9]\.)|(?<=%[0-9A-F]{2}))"
    rb"(?:[2-6][0-9]{12,18}|[2-6][0-9]{3}([ +-]|%20)[0-9]{4}\1[0-9]{4}\1[0-9]{4}|"
    rb"3[0-9]{3}([ +-]|%20)[0-9]{6}\2[0-9]{4,5})"
    rb"(?![0-9A-Za-z_]|[.-][0-9])"
)
"""In one piece or in the groups that are printed on cards; what is longer, or part of a word, is another number."""

_ISSUERS: Final = (
    # Visa, Mastercard, American Express, Diners Club, Discover, JCB, UnionPay, Maestro: first and last of their
    # prefixes, and how long their numbers are.
    *(("4", "4", (13, 16, 19)), ("51", "55", (16,)), ("2221", "2720", (16,)), ("34", "34", (15,)), ("37", "37", (15,))),
    *(("300", "305", (14, 16)), ("36", "36", (14, 16)), ("38", "39", (14, 16)), ("6011", "6011", (16, 19))),
    *(("644", "659", (16, 19)), ("3528", "3589", (16, 19)), ("62", "62", (16, 17, 18, 19))),
    *(("50", "50", (16, 18, 19)), ("56", "58", (16, 18, 19)), ("63", "63", (16, 18, 19)), ("67", "67", (16, 18, 19))),
)


def is_card(digits: str) -> bool:
    """Whether these digits can be the number of a payment card: of a known issuer, with a check digit that is right.

    The check is that of ISO/IEC 7812-1, annex B (Luhn).
    """
    issued = any(len(digits) in lengths and first <= digits[: len(first)] <= last for first, last, lengths in _ISSUERS)
    return issued and _luhn(digits) % 10 == 0


def _luhn(digits: str) -> int:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return sum(map(int, digits[-1::-2])) + sum(doubled)


def _card(found: Match[bytes]) -> bytes:
    digits = found[0].replace(found[1] or found[2] or b" ", b"")
    return b"[card]" if is_card(digits.decode()) else found[0]


# --- keys ------------------------------------------------------------------------------------------------------------

_KEYS: Final[Mapping[str, tuple[tuple[str, ...], bytes]]] = {
    # Whose: (marks, pattern). Shapes as the vendors document them, or their scanners look for them.
    "AWS": (
        ("AKIA", "ASIA"),
        rb"A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])(?:(?:[^A-Za-z0-9%]|%[0-9A-F]{2}){1,20}?(?:[A-Za-z0-9/+]|%2[BF]){40}(?![A-Za-z0-9/+]))?",
    ),
    "Google": (("AIza", "ya29.", "GOCSPX-"), rb"AIza[\w-]{35}|ya29\.[\w-]{20,}+|GOCSPX-[\w-]{20,}+"),
    "Azure": (
        ("AccountKey=", "AccountKey%3", "AccessKey=", "AccessKey%3"),
        rb"(?:AccountKey|SharedAccessKey)(?:=|%3D)(?:[A-Za-z0-9+/\\]|%[0-9A-F]{2}){40,}+=*+",
    ),
    "Azure's signed addresses": (("sig=", "sig%3"), rb"sig(?:=|%3D)(?:[A-Za-z0-9+/-]|%(?:25)?[0-9A-Fa-f]{2}){40,}+=*+"),
    "GitHub": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        rb"gh[pousr]_[A-Za-z0-9]{36,}+|github_pat_\w{22,}+",
    ),
    "GitLab": (("glpat-",), rb"glpat-[\w-]{20,}+"),
    "Slack": (
        ("xox", "xapp-", "hooks.slack"),
        rb"xox[abeoprs]-[A-Za-z0-9-]{10,}+|xapp-[A-Za-z0-9-]{10,}+|hooks\.slack\.com(?:\\?/|%2F)services(?:[\w/\\]|%2F){20,}+",
    ),
    "Stripe": (("k_live_", "k_test_"), rb"[rs]k_(?:live|test)_[A-Za-z0-9]{10,}+"),
    "webhooks": (("whsec_",), rb"whsec_(?:[A-Za-z0-9+/=\\]|%[0-9A-F]{2}){20,}+"),
    "OpenAI and Anthropic": (("sk-",), rb"sk-(?:proj|ant|svcacct|admin)-[\w-]{20,}+|sk-[A-Za-z0-9]{32,}+"),
    "SendGrid": (("SG.",), rb"SG\.[\w-]{16,}+\.[\w-]{16,}+"),
    "Telegram": ((":AA", "%3AAA"), rb"[0-9]{8,10}(?::|%3A)AA[\w-]{33}(?![\w-])"),
    "Hugging Face": (("hf_",), rb"hf_[A-Za-z0-9]{30,}+"),
    "npm": (("npm_",), rb"npm_[A-Za-z0-9]{36}"),
    "PyPI": (("pypi-",), rb"pypi-[\w-]{40,}+"),
    "Shopify": (("shpat_", "shpca_", "shppa_", "shpss_"), rb"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    "DigitalOcean": (("dop_v1_",), rb"dop_v1_[0-9a-f]{64}"),
}

_KEY: Final = rb"(?:(?<![A-Za-z0-9])|(?<=%%[0-9A-F]{2}))(?:%b)" % b"|".join(pattern for _, pattern in _KEYS.values())

# --- the rest --------------------------------------------------------------------------------------------------------

_PEM: Final = rb"-----BEGIN%b-----(?:.*?-----END%b-----|.*)" % (
    (rb"(?:(?:[ +]|%20)[A-Z0-9]{1,12}){0,4}(?:[ +]|%20)PRIVATE(?:[ +]|%20)KEY(?:(?:[ +]|%20)BLOCK)?",) * 2
)
"""To its end, or that of the text."""

_URL_PASSWORD: Final = rb"(:(?:\\?/){2}[^\s/?#@:\"'<>\[]{0,256}+:)[^\s/?#\"'<>]{1,256}@"

_JWT: Final = rb"(?<![\w-])((?:(?!eyJ)[\w-])*+)eyJ[\w-]{8,}+\.[\w-]{4,}+(?:\.[\w-]*+){1,3}"

_BEARER: Final = (
    rb"\b((?i:bearer)(?:[ \t+]|%20){1,8}+(?=\S{0,128}?(?:[0-9=]|[a-z][A-Z]))|"
    rb"(?i:basic)(?:[ \t+]|%20){1,8}+(?=\S{0,128}?(?:=|[a-z][A-Z])))"
    rb"(?:[A-Za-z0-9._~+/=\\-]|%[0-9A-Fa-f]{2}){8,}+"
)
"""With a digit or a capital inside: the word behind `bearer` is often just a word."""

_EMAIL: Final = (
    rb"(?<![\w.+\x80-\xff-])(?!git@)(?:[\w.+\x80-\xff-]|%2[Bb])++(?:@|%40)(?!v?[0-9]+(?:\.[0-9]|x\.))"
    rb"(?:[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff-]{0,62})\.){1,8}(?:[A-Za-z\x80-\xff]{2,24}+|xn--[a-z0-9-]{2,59}+)"
    rb"(?![A-Za-z0-9\x80-\xff])"
)
"""But for what looks like one in software: `git@host`, `package@1.2.3`, `icon@2x.png`."""

KINDS: Final[Mapping[str, Kind]] = {
    "private-key": Kind(
        "a private key in PEM, as in a service account of Google",
        by(_PEM, b"[private-key]", re.DOTALL),
        ("-----BEGIN",),
    ),
    "password": Kind("the password in an address", by(_URL_PASSWORD, rb"\1[password]@"), ("@",)),
    "jwt": Kind("a JSON Web Token", by(_JWT, rb"\1[jwt]"), ("eyJ",)),
    "key": Kind(
        f"keys and tokens of {', '.join(_KEYS)}",
        by(_KEY, b"[key]"),
        tuple(mark for marks, _ in _KEYS.values() for mark in marks),
    ),
    "bearer": Kind("what follows `Bearer` or `Basic`", by(_BEARER, rb"\1[bearer]"), (), ("bearer", "basic")),
    "email": Kind("an e-mail address", by(_EMAIL, b"[email]"), ("@", "%40")),
    "card": Kind(
        "the number of a payment card",
        lambda text: _CARD.sub(_card, text),
        (),
        (
            "0" * 13,
            *(f"0000{joint}{some}{joint}0000" for joint in (" ", "-", "+", "%00") for some in ("0000", "000000")),
        ),
    ),
}
"""By name, in the order in which they are looked for."""
