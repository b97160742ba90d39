"""What must not leave is masked, whatever it stands in, and nothing else is touched."""

import base64
import copy
import time
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.access.mask_text import MASK
from monitor.access.masking import DEFAULT_NAMES, DEFAULT_RULES, Masking, rules_of

USUAL = Masking(DEFAULT_RULES)
KEY = bytes(range(200, 232))
SECRET = "whsec_" + base64.b64encode(KEY).decode()

NAMES = ["password", "Password", "apiKey", "api-key", "email", "iban", "customer", "node.id", 'a"b', "é\n", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([*NAMES, ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)
RULES = st.lists(
    st.sampled_from(["password", "api_key", "*.email", "customer.iban", "customer.*", "*", "x.*.email", 'A"B', "é\n"]),
    max_size=3,
)


# --- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "name", "expected"),
    [
        ("password", "password", True),
        ("password", "PassWord", True),
        ("PASSWORD", "password", True),
        ("password", "passwords", False),
        ("password", "user_password", False),
        ("password", "password ", False),
        ("api_key", "apiKey", True),
        ("api_key", "API-Key", True),
        ("api_key", "api_key", True),
        ("api_key", "api key", False),
        ("apikey", "apiKey", True),
        ("apikey", "api_key", False),
        ("prénom", "PRénom", True),
        ("prénom", "prÉnom", False),
        ("token", "to\u212aen", False),
        ("*", "anything", True),
    ],
)
def test_names_fit_in_either_case_and_with_any_joint(rule: str, name: str, expected: bool) -> None:
    """Whoever writes `api_key` means `apiKey` too; a name that only contains the rule is another name."""
    assert (Masking([rule]).masked({name: "x"}) == {name: MASK}) is expected


@pytest.mark.parametrize(
    ("rule", "masked"),
    [
        ("iban", {"iban", "customer.iban", "customer.bank.iban", "orders.iban"}),
        ("*.iban", {"customer.iban", "customer.bank.iban", "orders.iban"}),
        ("customer.iban", {"customer.iban"}),
        ("customer.*.iban", {"customer.bank.iban"}),
        ("CUSTOMER.Bank.*", {"customer.bank.iban"}),
        ("*.*.*", {"customer.bank.iban"}),
        ("supplier.iban", set()),
    ],
)
def test_a_path_fits_where_the_last_names_do(rule: str, masked: set[str]) -> None:
    """A star is one name, whichever; a list adds none."""
    value = {"iban": 1, "customer": {"iban": 2, "bank": {"iban": 3}}, "orders": [[{"iban": 4}]]}
    shown = Masking([rule]).masked(value)
    found = {
        "iban": shown["iban"],
        "customer.iban": shown["customer"]["iban"],
        "customer.bank.iban": shown["customer"]["bank"]["iban"],
        "orders.iban": shown["orders"][0][0]["iban"],
    }
    assert {path for path, inner in found.items() if inner == MASK} == masked


def test_names_around_a_value_count() -> None:
    """What is masked alone is masked as in its place."""
    rule = Masking(["data.email"])
    assert rule.masked({"email": "a@b"}, within=["data"]) == {"email": MASK}
    assert rule.masked({"email": "a@b"}) == {"email": "a@b"}


@pytest.mark.parametrize("inner", ["x", "", None, 7, True, ["x"], {"deep": {"deeper": "x"}}])
def test_whatever_a_member_holds_is_replaced(inner: Any) -> None:
    """The kind and the size of a secret are nobody's business either."""
    assert USUAL.masked([{"token": inner, "kept": 1}]) == [{"token": MASK, "kept": 1}]


@given(RULES, JSON)
def test_what_is_given_stays_as_it_was(rules: list[str], value: Any) -> None:
    """A copy is made where something is masked, and only there; masking twice masks nothing more."""
    before, masking = copy.deepcopy(value), Masking(rules)
    shown = masking.masked(value)
    assert value == before
    assert (shown is value) == (shown == value)
    assert masking.masked(shown) == shown


@given(RULES, JSON)
@example(["é\n"], {"é\n": 1})
@example(['A"B'], {'a"b': 1})
@example(["*"], {"x": 1})
@example(["customer.*"], {"customer": {"x": 1}})
def test_quick_look_misses_nothing(rules: list[str], value: Any) -> None:
    """Encoded by either writer, a document in which something is masked is never taken for one without."""
    masking = Masking(rules)
    if masking.masked(value) is not value:
        assert masking.may_hold(msgspec.json.encode(value))
        assert masking.may_hold(orjson.dumps(value))


@pytest.mark.parametrize(
    "value",
    [
        {"text": "a passwordless sign-in of 12 tokens"},
        ["passwords", "keys"],
        {"passwords": 1, "tokenCount": 2, "my-tokens": 3},
        {"id": 123456789012, "at": "2026-11-22T10:30:01.204Z", "sha": "0198c0ffee0198c0ffee0198c0ffee0198c0ffee"},
        {},
    ],
)
def test_quick_look_is_not_misled_by_usual_text(value: Any) -> None:
    """Only names of members count, or every second event would be taken apart in vain."""
    assert not USUAL.may_hold(msgspec.json.encode(value))


def test_without_rules_nothing_in_events_is_masked() -> None:
    """It can be switched off."""
    value = {"password": "x"}
    assert Masking([]).masked(value) is value
    assert not Masking([]).may_hold(b'{"password":"x"}')


@pytest.mark.parametrize("rule", DEFAULT_NAMES)
def test_usual_names_of_secrets_are_masked_unasked(rule: str) -> None:
    """As programs, headers and environments spell them, in events and in text."""
    words = rule.split("_")
    for name in (rule, rule.upper(), "-".join(map(str.title, words)), words[0] + "".join(map(str.title, words[1:]))):
        document = msgspec.json.encode({name: "x"})
        assert USUAL.masked({name: "x"}) == {name: MASK}
        assert USUAL.may_hold(document)
        assert USUAL.masked_text(document) == document.replace(b'"x"', b'"***"')


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("", ()),
        ("email", ("email",)),
        (" email , *.iban,,", ("email", "*.iban")),
        ("+", DEFAULT_RULES),
        ("+email,*.iban", (*DEFAULT_RULES, "email", "*.iban")),
    ],
)
def test_setting_replaces_the_rules_or_adds_to_them(setting: str, expected: tuple[str, ...]) -> None:
    """With a plus in front it adds; empty it leaves none."""
    assert rules_of(setting) == expected


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"got {SECRET}, thanks", "got ***, thanks"),
        ("whsec_b3RoZXIga2V5\\/b2Y=", "***"),
        ("whsec_", "***"),
        ("Bearer abc.def-ghi rejected", "Bearer *** rejected"),
        ("bEARER\tabc", "bEARER\t***"),
        ("forbearer abc", "forbearer abc"),
        ("Authorization: Basic dXNlcjpwYXNz\r\nHost: x", "Authorization: ***\r\nHost: x"),
        ('authorization:Digest username="me", response="abc"\nHost: x', "authorization:***\nHost: x"),
        ("<li>Proxy-Authorization: abc</li>", "<li>Proxy-Authorization: ***</li>"),
        ("Authorization:\r\nHost: x", "Authorization:\r\nHost: x"),
        ("Set-Cookie: sid=abc; Path=/\nHost: x", "Set-Cookie: ***\nHost: x"),
        ('{"password":"hunter2","user":"me"}', '{"password":"***","user":"me"}'),
        ('{ "apiKey" : "a\\"b" , "n": 1}', '{ "apiKey" : "***" , "n": 1}'),
        ('{"password":"a\\\\","user":"me"}', '{"password":"***","user":"me"}'),
        ('{"token":12.5e3,"n":1}', '{"token":"***","n":1}'),
        ('{"token":null}', '{"token":"***"}'),
        ('{"Authorization":["Bearer abc","]x"],"n":1}', '{"Authorization":"***","n":1}'),
        ('{"cookie":{"sid":"}abc"},"n":1}', '{"cookie":"***","n":1}'),
        ('{"token":{"deep":{"x":"abc"}},"n":1}', '{"token":"***"'),
        ('{"token":["abc', '{"token":"***"'),
        ('{"token":"abc def', '{"token":"***"'),
        ('{"token":"abc def\\', '{"token":"***"'),
        ("{'token': 'abc def", "{'token': '***'"),
        ("{'password': 'hunter2', 'user': 'me'}", "{'password': '***', 'user': 'me'}"),
        ('{"password"', '{"password"'),
        ('{"passwords":"x"}', '{"passwords":"x"}'),
        ("everything went well", "everything went well"),
        ("", ""),
    ],
)
def test_case_32_answer_loses_what_looks_like_a_secret(text: str, expected: str) -> None:
    """Whole, cut off, in JSON, in headers or as a program prints it; the rest of the answer stays readable."""
    assert USUAL.masked_text(text) == expected
    assert USUAL.masked_text(text.encode()) == expected.encode()


def spellings(secret: bytes) -> dict[str, bytes]:
    """How a receiver may say it back."""
    standard, urlsafe = base64.b64encode(secret), base64.urlsafe_b64encode(secret)
    return {
        "as it is": secret,
        "base64": standard,
        "base64 without its end": standard.rstrip(b"="),
        "base64 for URLs": urlsafe,
        "base64 for URLs without its end": urlsafe.rstrip(b"="),
        "base64 in PHP's JSON": standard.replace(b"/", b"\\/"),
        "base64 in a form": standard.replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D"),
    }


@pytest.mark.parametrize("secret", [KEY, b"\xfb\xff\xfe" * 8, b'Basic "pass\\word/+"'])
@pytest.mark.parametrize("spelling", spellings(b""))
def test_case_32_answer_loses_the_secrets_of_its_endpoint(secret: bytes, spelling: str) -> None:
    """In every form in which it may come back, on bytes that are no text."""
    said = spellings(secret)[spelling]
    assert USUAL.masked_text(b"\xff<" + said + b">\xfe" * 20, [secret]) == b"\xff<***" + b">\xfe" * 20


def test_case_32_header_values_are_found_as_json_writes_them() -> None:
    """A value with quotes comes back escaped."""
    value = 'key "with" quotes\\'
    said = msgspec.json.encode({"x-own": value})
    assert USUAL.masked_text(said, [value.encode()]) == b'{"x-own":"***"}'


@pytest.mark.parametrize("kept", [4, 10, 31])
def test_case_32_answer_cut_inside_a_secret_does_not_end_with_its_beginning(kept: int) -> None:
    """Only the first bytes of an answer are kept; where they end is chance."""
    assert USUAL.masked_text(b"x" * 100 + KEY[:kept], [KEY]) == b"x" * 100 + b"***"
    assert USUAL.masked_text(b"x" * 100 + KEY[:3], [KEY]) == b"x" * 100 + KEY[:3]


@pytest.mark.parametrize("secret", [b"", b"1", b"dev"])
def test_what_is_too_short_to_be_a_secret_is_left_alone(secret: bytes) -> None:
    """A header such as `x-env: dev` would otherwise make every log unreadable."""
    assert USUAL.masked_text(b"1 developer", [secret]) == b"1 developer"


def test_names_follow_the_rules_and_headers_are_always_masked() -> None:
    """In text a path counts by its last name."""
    text = '{"email":"a@b","password":"x","authorization":"Basic x"}'
    assert Masking(["customer.email"]).masked_text(text) == '{"email":"***","password":"x","authorization":"***"}'
    assert Masking([]).masked_text(text) == '{"email":"a@b","password":"x","authorization":"***"}'
    assert Masking(["*"]).masked_text(text) == '{"email":"***","password":"***","authorization":"***"}'


@given(
    st.binary(max_size=200),
    st.binary(max_size=200),
    st.binary(min_size=4, max_size=40).filter(lambda it: b"*" not in it),
)
def test_case_32_no_bytes_around_a_secret_hide_it(before: bytes, after: bytes, secret: bytes) -> None:
    """Whatever a receiver puts around it."""
    assert secret not in USUAL.masked_text(before + secret + after, [secret])


@given(st.text(max_size=100))
def test_any_text_is_taken(text: str) -> None:
    """Also halves of characters, which JSON can spell."""
    assert isinstance(USUAL.masked_text(text + "\ud800", [KEY]), str)


@pytest.mark.parametrize(
    "unit",
    [
        *(b'"', b"'", b"\\", b"\0", b"[", b"whsec_", b"bearer ", b"authorization:", b"cookie: ", b"'\"\\"),
        *(b'"token"', b'"token":', b'"token":[', b'"token":"\\', b'"token" ', b'"token":{"', b"'token': '", KEY[:31]),
    ],
)
def test_hostile_answers_take_no_longer_than_others(unit: bytes) -> None:
    """No text makes the search start over and over: 1 MiB takes some hundred milliseconds, quadratic would be hours."""
    text = unit * ((1 << 20) // len(unit))
    began_s = time.process_time()
    USUAL.masked_text(text, [KEY])
    assert time.process_time() - began_s < 5.0
