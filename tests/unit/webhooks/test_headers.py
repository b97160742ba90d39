"""An endpoint's own headers are sent as they are, or refused before anything is stored."""

import string

import msgspec
import pytest

from monitor.errors import InvalidWebhook
from monitor.webhooks.headers import MAX_HEADERS, MAX_HEADERS_BYTES, REFUSED, check_headers, pack, unpack
from monitor.webhooks.signing import signed_headers


def refusal(headers: dict[str, str]) -> InvalidWebhook:
    """How they are refused."""
    with pytest.raises(InvalidWebhook) as refused:
        check_headers(headers)
    return refused.value


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer abc.def=", "x-api-key": 'a "b" \\ c'},
        {"X-Empty": ""},
        {"x_1.2~": "~"},
        {"hosts": "a", "content": "b", "webhooks-own": "c", "second-": "d", "x-host": "e"},
    ],
)
def test_usual_headers_are_taken(headers: dict[str, str]) -> None:
    """Also those whose names only resemble one that is refused."""
    check_headers(headers)


@pytest.mark.parametrize(
    "name",
    [
        *("webhook-id", "Webhook-Signature", "webhook-anything", "Host", "Content-Length", "content-type"),
        *("Transfer-Encoding", "Connection", "TE", "Trailer", "Upgrade", "Expect", "Keep-Alive", "Cookie"),
        *("Proxy-Authorization", "X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "User-Agent", "Origin"),
        *("Metadata-Flavor", "Metadata", "X-aws-ec2-metadata-token", "X-HTTP-Method-Override", "Sec-Fetch-Site"),
    ],
)
def test_case_44_name_that_means_something_to_the_way_is_refused(name: str) -> None:
    """In either case of its letters; the answer says which header, and why."""
    refused = refusal({"x-fine": "1", name: "2"})
    assert refused.details == {"field": f"headers.{name}"}
    assert refused.message.startswith(f"'headers.{name}' cannot be chosen: it ")


def test_case_44_every_refused_name_is_refused() -> None:
    """By itself, and where it stands for all that begin with it, by them."""
    for name in REFUSED:
        chosen = f"{name}x" if name.endswith("-") else name
        assert refusal({chosen: ""}).details == {"field": f"headers.{chosen}"}


def test_case_44_headers_of_ours_cannot_be_replaced() -> None:
    """Every header that an attempt carries anyway."""
    for name in (*signed_headers("msg_1", 1, b"", [b"key"]), "content-type", "user-agent", "host"):
        assert refusal({name: "mine"}).details == {"field": f"headers.{name}"}


@pytest.mark.parametrize("name", ["", " ", "a b", "a:", "a\r\nb", "a\0", "é", "a\tb", "a/b", "(a)", '"a"', "ａ", "a\n"])
def test_case_44_name_that_is_no_token_is_refused(name: str) -> None:
    """Anything else would end the header before its value, or begin another one."""
    refused = refusal({name: "x"})
    assert (refused.details, "no header's name" in refused.message) == ({"field": f"headers.{name}"}, True)


@pytest.mark.parametrize("character", sorted({*map(chr, range(256)), "\u2028", "ａ"} - {*map(chr, range(32, 127))}))
def test_case_44_value_holds_printable_ascii_alone(character: str) -> None:
    """No line end, zero byte or letter that servers read in different ways, wherever in the value."""
    for value in (f"secret{character}x", f"{character}secret", f"secret{character}"):
        refused = refusal({"x-own": value})
        assert refused.details == {"field": "headers.x-own"}
        assert "secret" not in refused.message


def test_case_44_blanks_at_the_ends_of_a_value_are_refused() -> None:
    """They are no part of it: receivers would compare another value."""
    for value in (" a", "a ", " "):
        assert refusal({"x-own": value}).details == {"field": "headers.x-own"}


def test_case_44_a_name_counts_once() -> None:
    """In whichever case it is written, it is one header."""
    refused = refusal({"X-Own": "1", "x-own": "2"})
    assert (refused.details, "is there twice" in refused.message) == ({"field": "headers.x-own"}, True)


def test_case_44_number_and_size_are_bounded() -> None:
    """So that a receiver's own limit is not reached by them alone."""
    check_headers({f"x-{number}": "" for number in range(MAX_HEADERS)})
    assert refusal({f"x-{number}": "" for number in range(MAX_HEADERS + 1)}).details == {"field": "headers"}
    check_headers({"x-own": "v" * (MAX_HEADERS_BYTES - len("x-own"))})
    assert refusal({"x-own": "v" * (MAX_HEADERS_BYTES - len("x-own") + 1)}).details == {"field": "headers"}


def test_refused_names_are_spelled_as_they_are_compared() -> None:
    """One in upper case, or with another character, would never be found."""
    assert {letter for name in REFUSED for letter in name} <= {*string.ascii_lowercase, *string.digits, "-"}


def test_packed_headers_come_back() -> None:
    """In their order, which is kept on the wire; anything else is no packed headers."""
    headers = {"x-b": "1", "X-A": ""}
    assert list(unpack(pack(headers)).items()) == list(headers.items())
    with pytest.raises(msgspec.MsgspecError):
        unpack(b"\xc1")
