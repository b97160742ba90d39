"""The catalogue of faults that a sender of webhooks must survive: each has a test that carries its number."""

import ast
import re
from pathlib import Path

CASES = {
    # Durability
    1: "killed after the store's commit, before the journal's",
    2: "killed before the store's commit",
    3: "an old owner of a partition commits late",
    4: "the same event twice in a batch, and again later",
    5: "killed after the receiver has the request, before that is recorded",
    6: "a lease ends while its sender lives",
    7: "the store does not answer for a while",
    8: "the disk is full",
    9: "poison in the journal",
    10: "the clock jumps by an hour",
    11: "stopped with hundreds of sends in flight",
    # Isolation
    12: "one of a hundred receivers hangs with half of the traffic",
    13: "a long backlog of a dead endpoint beside a new endpoint",
    14: "dead for an hour, and back",
    15: "ten thousand endpoints with one event each",
    16: "a receiver that fails every other time",
    17: "a rate limit with a long queue",
    18: "one send at a time, a slow receiver and a retry by hand",
    # Receivers
    19: "answers just before and just after the deadline",
    20: "a body that comes drop by drop",
    21: "a body without end, or one that inflates",
    22: "every kind of status line",
    23: "redirects",
    24: "410",
    25: "429 with every kind of Retry-After",
    26: "503 without one, and 500 to the end",
    27: "the receiver's word on how to go on",
    28: "a kept connection that the receiver just closed",
    29: "resets, and certificates that are not right",
    30: "headers twice, too many, with NUL; bytes that are no text",
    31: "cookies",
    32: "secrets that come back",
    # Where requests go
    33: "forbidden addresses in every spelling",
    34: "a name with public and private addresses",
    35: "a name that changes its address",
    36: "proxies of the environment",
    37: "URLs that are none",
    38: "a private network that is allowed",
    # Signing
    39: "bytes that are hard to sign",
    40: "rotation of secrets",
    41: "the same id and body on every attempt",
    42: "ids of events that no header could carry",
    43: "secrets and keys that are none",
    44: "headers that an endpoint must not have sent along",
    # State
    45: "removed with work queued and in flight",
    46: "URL or secret changed between attempts",
    47: "filters changed while events are committed",
    48: "a long replay beside live traffic",
    49: "retries by hand of what is delivered, being sent or cancelled",
    50: "events while paused or disabled",
    51: "an order that its head holds up",
    52: "a body that is too large",
    53: "masks",
    54: "somebody else's webhook",
    55: "endpoints that hear of webhooks and fail themselves",
    56: "all of it at random",
    57: "retention under load",
}
"""What each number stands for."""

TESTS = Path(__file__).parents[1]


def numbers(name: str) -> set[int]:
    """The cases that a test's name carries: `test_case_01_and_02_...`."""
    found = re.match(r"test_case_(\d\d(?:_and_\d\d)*)_", name)
    return set(map(int, found.group(1).split("_and_"))) if found else set()


def test_every_case_has_a_test_of_its_number() -> None:
    """None is missing, and none is unknown."""
    names = (
        node.name
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    held = {number for name in names for number in numbers(name)}
    assert {number: title for number, title in CASES.items() if number not in held} == {}
    assert held <= CASES.keys()
