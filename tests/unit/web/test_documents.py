"""A body is taken as the document that it should be, or refused with the member at fault."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from pydantic import model_validator
from starlette.requests import Request

from monitor.errors import ClientError, InvalidRequest, InvalidWebhook, TooLarge, UnsupportedMediaType
from monitor.web.documents import MAX_BODY_BYTES, Document, read_document


class Inner(Document):
    elsewhere: ClassVar[Mapping[str, str]] = {"color": "; see above"}

    width: int = 1


class Outer(Document):
    refusal: ClassVar[type[ClientError]] = InvalidWebhook

    name: str = "nobody"
    inner: Inner | None = None
    several: list[Inner] = []  # noqa: RUF012 - pydantic copies it
    widths: list[int] = []  # noqa: RUF012 - the same
    anything: Any = None

    @model_validator(mode="after")
    def _check(self) -> "Outer":
        if self.name == "wrong":
            raise ValueError("a name and its inside do not fit")
        return self


async def read(body: bytes, *, is_optional: bool = False, media_type: str = "application/json") -> Outer:
    """What becomes of a body."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    request = Request({"type": "http", "headers": [(b"content-type", media_type.encode())]}, receive)
    return await read_document(request, Outer, is_optional=is_optional)


async def test_null_and_absence_are_the_default() -> None:
    """And no body at all, where it may be missing."""
    assert (await read(b'{"name": null, "inner": {"width": null}}')) == Outer(inner=Inner())
    assert (await read(b"", is_optional=True)) == Outer()


@pytest.mark.parametrize("payload", ["2.0", "1e308", "[2.0, 1e308]"])
async def test_numbers_of_a_payload_stay_as_they_are(payload: str) -> None:
    """Whole numbers of our own members are taken however they are spelled; a payload is somebody else's."""
    found = await read(b'{"widths": [2.0], "anything": %s}' % payload.encode())
    assert (repr(found.widths), repr(found.anything)) == ("[2]", repr(json.loads(payload)))


@pytest.mark.parametrize(
    ("body", "kind", "field", "sentence"),
    [
        (b'{"nmae": 1}', InvalidWebhook, "nmae", "unknown member 'nmae'; did you mean 'name'?"),
        (b'{"inner": {"wdith": 1}}', InvalidWebhook, "inner.wdith", "unknown member 'wdith'; did you mean 'width'?"),
        (
            b'{"several": [{}, {"wide": 1}]}',
            InvalidWebhook,
            "several.1.wide",
            "unknown member 'wide'; did you mean 'width'?",
        ),
        (
            b'{"inner": {"color": 1}}',
            InvalidWebhook,
            "inner.color",
            "unknown member 'color'; see above",
        ),
        (b'{"name": 7}', InvalidWebhook, "name", "'name': Input should be a valid string"),
        (b'{"name": "wrong"}', InvalidWebhook, None, "a name and its inside do not fit"),
        (b"[]", InvalidWebhook, None, "the body is not a JSON object"),
        (b'{"name": "a", "name": "b"}', InvalidRequest, "name", "'name' is there twice"),
        (b'{"anything": [{"deep": 1, "deep": 1}]}', InvalidRequest, "deep", "'deep' is there twice"),
    ],
)
async def test_a_fault_is_told_in_the_words_of_the_document(
    body: bytes, kind: type[ClientError], field: str | None, sentence: str
) -> None:
    """Its class, its member, and the word that was probably meant."""
    with pytest.raises(kind) as refused:
        await read(body)
    assert (type(refused.value), refused.value.message) == (kind, sentence)
    assert refused.value.details.get("field") == field


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", InvalidRequest),
        (b"{", InvalidRequest),
        (b'{"anything":' + b"[" * 30_000 + b"]" * 30_000 + b"}", InvalidRequest),
        (b'{"name": "\xff"}', InvalidRequest),
        (b" " * (MAX_BODY_BYTES + 1), TooLarge),
    ],
)
async def test_what_is_no_document_is_refused(body: bytes, kind: type[ClientError]) -> None:
    """However deep, long or broken."""
    with pytest.raises(kind):
        await read(body)


async def test_whole_numbers_may_be_spelt_with_a_point() -> None:
    """JSON has one kind of numbers (RFC 8259, 6)."""
    assert (await read(b'{"inner": {"width": 2.0}, "widths": [3.0, 4]}')) == Outer(inner=Inner(width=2), widths=[3, 4])
    with pytest.raises(InvalidWebhook, match=r"'inner\.width': Input should be a valid integer"):
        await read(b'{"inner": {"width": 2.5}}')


async def test_only_json_is_taken() -> None:
    """A form of some page on the web is none."""
    with pytest.raises(UnsupportedMediaType):
        await read(json.dumps({}).encode(), media_type="text/plain")
