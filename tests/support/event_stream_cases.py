"""What the standard says about bodies of event streams: its own examples, and the cases of its test suite.

Held against the tests' own reader at every cut, and against a browser.
"""

from typing import NamedTuple

from tests.support.event_stream import Fired


class Case(NamedTuple):
    """A body, and what the standard says about it."""

    body: bytes
    fired: tuple[Fired, ...] = ()
    last_event_id: str = ""
    retry_ms: int | None = None


def message(data: str, last_event_id: str = "", kind: str = "message") -> Fired:
    """An event of the default name."""
    return Fired(kind, data, last_event_id)


CASES = {
    # The standard's own examples.
    "three messages": Case(
        b"data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\n"
        b"data: This is the third message.\n\n",
        (
            message("This is the first message."),
            message("This is the second message, it\nhas two lines."),
            message("This is the third message."),
        ),
    ),
    "named events": Case(
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
        (message("73857293", kind="add"), message("2153", kind="remove"), message("113411", kind="add")),
    ),
    "stock ticker": Case(b"data: YHOO\ndata: +2\ndata: 10\n\n", (message("YHOO\n+2\n10"),)),
    "an id that is reset by an empty one": Case(
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        (message("first event", "1"), message("second event"), message(" third event")),
    ),
    "empty data and an unfinished block": Case(b"data\n\ndata\ndata\n\ndata:", (message(""), message("\n"))),
    "one space goes": Case(b"data:test\n\ndata: test\n\n", (message("test"), message("test"))),
    # Line ends.
    "CR": Case(b"data: a\rdata: b\r\rdata: c\r\r", (message("a\nb"), message("c"))),
    "CRLF": Case(b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", (message("a\nb"), message("c"))),
    "mixed ends": Case(b"data:1\r\ndata:2\ndata:3\rdata:4\n\rdata:5\r\n\n", (message("1\n2\n3\n4"), message("5"))),
    "LF CR is two ends": Case(b"data: a\n\rdata: b\n\r", (message("a"), message("b"))),
    "nothing else ends a line": Case(
        "data: a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1dh\x1ei\n\n".encode(),
        (message("a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1dh\x1ei"),),
    ),
    # The first bytes.
    "a byte order mark goes": Case(b"\xef\xbb\xbfdata: a\n\n", (message("a"),)),
    "only one of them": Case(b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\ndata: 2\n\n", (message("2"),)),
    "not in the middle": Case(b"data: 1\n\n\xef\xbb\xbfdata: 2\n\ndata: 3\n\n", (message("1"), message("3"))),
    "but in a value it stays": Case(b"data:\xef\xbb\xbf1\n\n", (message("\ufeff1"),)),
    # Lines that are no known field.
    "comments": Case(
        b"data:1\r:\0\n:\r\ndata:2\n:" + b"x" * 2048 + b"\rdata:3\n:data:fail\r:\n\n", (message("1\n2\n3"),)
    ),
    "heartbeats fire nothing": Case(b":\n\n:\n\ndata: a\n\n:\n\n", (message("a"),)),
    "unknown fields": Case(
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n\n", (message("test\n"),)
    ),
    "names are exact": Case(b"Data: a\nDATA: b\ndata : c\n data: d\ndata: e\n\n", (message("e"),)),
    "a NUL is part of a name": Case(
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\n"
        b"data:3\rdata:\r\n data:32\ndata:4\n\n",
        (message("\0\n 2\n1\n3\n\n4"),),
    ),
    "a colon in a value": Case(b"data: a: b:c\ndata::d\n\n", (message("a: b:c\n:d"),)),
    "a tab is no space": Case(b"data:\ttest\rdata: \ndata:test\n\n", (message("\ttest\n\ntest"),)),
    # Names of events.
    "an empty name is the default": Case(b"event: \ndata: a\n\nevent\ndata: b\n\n", (message("a"), message("b"))),
    "the last name holds": Case(b"event: x\nevent: y\ndata: a\n\ndata: b\n\n", (message("a", kind="y"), message("b"))),
    "a name without data is forgotten": Case(b"event: x\n\ndata: a\n\n", (message("a"),)),
    # Ids.
    "an id stays": Case(b"id: 1\ndata: a\n\ndata: b\n\n", (message("a", "1"), message("b", "1")), "1"),
    "an id by itself fires nothing": Case(b"id: 1\n\ndata: a\n\nid: 2\n\n", (message("a", "1"),), "2"),
    "an id with NUL is no id": Case(
        b"id: 1\0\ndata: a\n\nid: 2\nid: 3\0x\ndata: b\n\n", (message("a"), message("b", "2")), "2"
    ),
    "an id may follow its data": Case(b"data: a\nid: 1\n\n", (message("a", "1"),), "1"),
    "an id beyond ASCII": Case("id: …\ndata: a\n\n".encode(), (message("a", "…"),), "…"),
    "an id of an unfinished block": Case(b"id: 1\ndata: a\n\nid: 2\ndata: b\n", (message("a", "1"),), "1"),
    # Retry.
    "digits": Case(b"retry: 1500\n\n", retry_ms=1500),
    "at once": Case(b"retry: 7\n", retry_ms=7),
    "leading zeros": Case(b"retry:03000\ndata:x\n\n", (message("x"),), retry_ms=3000),
    "nothing but digits": Case(
        "retry: 5000\nretry: 10s\nretry: -1\nretry: +1\nretry: 1.5\nretry: 0x9\nretry: ١\nretry:  8\nretry: 9 \nretry\n"
        "data: x\n\n".encode(),
        (message("x"),),
        retry_ms=5000,
    ),
    # The end.
    "unfinished at the end": Case(b"data: a\n\ndata: b\n", (message("a"),)),
    "unfinished line": Case(b"data: a\n\ndata: b", (message("a"),)),
    "nothing at all": Case(b""),
    # UTF-8.
    "UTF-8": Case("data: ok…🚀\n\n".encode(), (message("ok…🚀"),)),
    "what is no UTF-8 is replaced": Case(
        b"data: \xff\xe2\x82x\xed\xa0\x80\n\n", (message("\ufffd\ufffdx\ufffd\ufffd\ufffd"),)
    ),
}
