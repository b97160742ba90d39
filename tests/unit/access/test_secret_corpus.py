"""Every secret of the corpus is found wherever it stands, and hardly anything else is touched."""

import json
import re
import time
from typing import Any

import pytest

from monitor.access.looks import is_card
from monitor.access.mask_rules import ALL_KINDS
from monitor.access.masking import DEFAULT_NAMES, DEFAULT_RULES, Masking, shows_masks
from monitor.errors import SettingsInvalid
from tests.support import secret_corpus
from tests.support.secret_corpus import COUNT, look_alikes, secrets

USUAL = Masking(DEFAULT_RULES)

MOST_FALSE_HITS = 4
"""Of two hundred look-alikes: 2 %."""


def written(value: Any) -> str:
    """The value as people and programs may see it."""
    return json.dumps(value, ensure_ascii=False) + str(value)


def test_corpus_is_what_it_says() -> None:
    """Two hundred of each, different ones, each secret where it is said to be."""
    assert (len(secrets()), len(look_alikes())) == (COUNT, COUNT)
    assert len({written(secret.value) for secret in secrets()}) == COUNT
    assert len({written(one.value) for one in look_alikes()}) > COUNT * 0.9
    assert all(any(needle in written(secret.value) for needle in secret.needles) for secret in secrets())


def test_recall_is_complete_and_false_hits_are_few() -> None:
    """Nothing that is documented gets through; `pytest -s` shows the figures."""
    missed = [
        secret
        for secret in secrets()
        if any(needle in written(USUAL.masked(secret.value)) for needle in secret.needles)
    ]
    false_hits = [one for one in look_alikes() if USUAL.masked(one.value) != one.value]
    print(f"\nsecrets found: {COUNT - len(missed)} of {COUNT}; false hits: {len(false_hits)} of {COUNT}")
    assert missed == []
    assert len(false_hits) <= MOST_FALSE_HITS, false_hits


def test_what_was_masked_shows_it() -> None:
    """Whoever needs the original can tell that this is none."""
    for secret in secrets():
        assert shows_masks(json.dumps(USUAL.masked(secret.value)).encode()), secret
    plain = [one.value for one in look_alikes() if USUAL.masked(one.value) == one.value]
    assert [value for value in plain if shows_masks(json.dumps(value).encode())] == []


def test_quick_look_suspects_every_secret() -> None:
    """However its JSON is written: with or without blanks and escapes."""
    for secret in secrets():
        for document in (
            json.dumps(secret.value).encode(),
            json.dumps(secret.value, ensure_ascii=False, indent=2).encode(),
            json.dumps(secret.value, separators=(",", ":")).replace("/", "\\/").encode(),
            re.sub(r"(?<!\\)[A-Z@=]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(secret.value)).encode(),
        ):
            assert USUAL.may_hold(document), secret


@pytest.mark.parametrize("kind", secret_corpus.MAKERS)
def test_each_kind_is_found_in_every_place(kind: str) -> None:
    """Several of each, in values, names, logs, addresses, errors, other formats and alphabets."""
    chance = secret_corpus.Chance(kind)
    for place, put in secret_corpus.PLACES.items():
        for _ in range(5):
            secret = secret_corpus.MAKERS[kind](chance)
            shown = USUAL.masked(put(secret))
            assert not any(needle in written(shown) for needle in secret_corpus.needles(kind, secret)), (place, secret)
            assert USUAL.masked(shown) == shown, place


def test_kinds_can_be_switched_off_one_by_one() -> None:
    """`-type:email` leaves addresses, and nothing else."""
    text = "joe@example.com paid with 4111 1111 1111 1111, password=hunter2"
    assert USUAL.masked(text) == "[email] paid with [card], password=***"
    assert Masking([*DEFAULT_RULES, "-type:email"]).masked(text) == ("joe@example.com paid with [card], password=***")
    assert Masking([*DEFAULT_RULES, "-type:*", "type:card"]).masked(text) == (
        "joe@example.com paid with [card], password=hunter2"
    )
    assert Masking([*DEFAULT_RULES, "-type:pair"]).masked(text) == "[email] paid with [card], password=hunter2"
    assert Masking([]).masked(text) is text
    assert Masking(DEFAULT_NAMES).masked(text) is text


@pytest.mark.parametrize("said", ["type:cards", "type:", "-type:x", "type:e mail"])
def test_unknown_kind_is_refused_by_name(said: str) -> None:
    """With those that there are."""
    with pytest.raises(SettingsInvalid, match=rf"MONITOR_MASK: .* is no type; there are {ALL_KINDS[0]}, "):
        Masking([said])


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("4111111111111111", True),
        ("4111111111111112", False),
        ("378282246310005", True),
        ("37828224631000", False),
        ("5555555555554444", True),
        ("2223003122003222", True),
        ("6011111111111117", True),
        ("3530111333300000", True),
        ("30569309025904", True),
        ("1111111111111117", False),
        ("9999999999999995", False),
        ("41111111111111", False),
        ("0000000000000000", False),
    ],
)
def test_cards_are_those_of_known_issuers_with_a_right_check_digit(digits: str, expected: bool) -> None:
    """The issuers' own test numbers."""
    assert is_card(digits) is expected
    assert (USUAL.masked({"n": int(digits)})["n"] == "[card]") is expected
    assert (USUAL.masked(f"<{digits}>") == "<[card]>") is expected
    assert USUAL.masked(f"x{digits}") == f"x{digits}"


HOSTILE = [
    *("a", "@", "a@", "a.", "a@a.", "@a.a", "%40", "a%40", "é", "://", "://:", "://a:", ":a@", "1", "4", "4 "),
    *("4111 ", "4111-1111-1111-111", "eyJ", "eyJ.", "-eyJ", "eyJaaaaaaaa.", "eyJaaaaaaaaeyJ", "-----BEGIN "),
    *("-----BEGIN PRIVATE KEY-----", "PRIVATE KEY-----", "bearer ", "bearer%20", "basic aaaaaaaa", "AKIA", "sk-"),
    *("AKIAAAAAAAAAAAAAAAAA ", "xoxb-", "SG.", "SG.aaaaaaaaaaaaaaaa", "sig=", "sig=%25", "12345678:AA", "gh"),
    *("github_pat_", "AccountKey=", "password", "password=", "password: ", "password:\n", "--password ", "--password"),
    *('"password":', "'token'", "\\", '\\"password\\":', '\\"password\\":\\"', "token ", "token =", "a token=[", "\n"),
    *("\n-", " ", "\t", "authorization: ", "cookie: ", "Authorization:", "whsec_", "hooks.slack.com/services/", "%"),
    *("ya29.", "[email]", "***", "%2B", "'\"\\", "password ", "password\t", '"password" '),
]


def seconds_for(text: str) -> float:
    """CPU seconds of the quickest of three runs."""

    def run() -> float:
        began_s = time.process_time()
        USUAL.masked(text)
        USUAL.masked_text(text)
        return time.process_time() - began_s

    return min(run() for _ in range(3))


@pytest.mark.parametrize("unit", HOSTILE, ids=repr)
def test_hostile_text_takes_as_long_as_it_is_long(unit: str) -> None:
    """Eight times the text takes about eight times as long, where a pattern that starts over would take 64 times."""
    short, long = (unit * (size // len(unit)) for size in (32 << 10, 256 << 10))
    assert seconds_for(long) < 24 * seconds_for(short) + 0.05
