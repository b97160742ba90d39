"""Bodies of requests about webhooks, as they are documented, and the sentence for a fault in them.

Null stands for the default wherever there is one. What is not known is refused with the nearest word that is.
"""

from math import ceil
from typing import Annotated, Any, Final, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from starlette.requests import Request

from monitor.errors import InvalidRequest, InvalidWebhook, UnsupportedMediaType
from monitor.events.codec import parse_time_us
from monitor.executions.wishes import Wish
from monitor.web.bodies import read_body
from monitor.web.params import nearest
from monitor.webhooks.endpoint import MAX_IN_FLIGHT, MOST_IN_FLIGHT, TIMEOUT_S, Ordering, Rate
from monitor.webhooks.schedule import EXPIRES_AFTER_US

MAX_BODY_BYTES: Final = 64 * 1024
"""A hundred filter values of the greatest length, and room to spare."""

_MOST_REPEATED: Final = 40
"""Characters of an unknown name that its refusal repeats."""

_DAY_S: Final = 86_400

Delay = Annotated[int, Field(ge=1, le=_DAY_S)]
Status = Annotated[int, Field(ge=300, le=599)]


class Document(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _take_null_for_default(cls, said: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        return field.get_default(call_default_factory=True) if said is None and not field.is_required() else said


class RateDocument(Document):
    """`rateLimit`."""

    per_second: float = Field(ge=0.01, le=1000, alias="perSecond")
    # How many may follow each other at once; None = a second's worth.
    burst: int | None = Field(None, ge=1, le=1000)

    def rate(self) -> Rate:
        """As an endpoint has it."""
        return Rate(self.per_second, self.burst or ceil(self.per_second))


class _Settings(Document):
    """What a webhook may be told. Its fields are named like an endpoint's members."""

    events: list[str] = Field([], max_length=100)
    filters: dict[str, Any] = {}
    name: str | None = Field(None, max_length=100)
    headers: dict[str, str] = Field({}, repr=False)
    payload: Literal["full", "thin"] = "full"
    ordering: Ordering = "none"
    on_exhausted: Literal["skip", "halt"] = Field("skip", alias="onExhausted")
    max_in_flight: int = Field(MAX_IN_FLIGHT, ge=1, le=MOST_IN_FLIGHT, alias="maxInFlight")
    rate: RateDocument | None = Field(None, alias="rateLimit")
    retry_delays_s: list[Delay] | None = Field(None, min_length=1, max_length=20, alias="retrySchedule")
    timeout_s: float = Field(TIMEOUT_S, ge=1, le=30, alias="timeoutSeconds")
    give_up_on: list[Status] = Field([], max_length=100, alias="giveUpOn")
    obeys_receiver: bool = Field(True, alias="obeyReceiver")
    disabled: bool = False

    @field_validator("name")
    @classmethod
    def _check_name(cls, said: str | None) -> str | None:
        if said is not None and not (said.strip() and said.isprintable()):
            raise ValueError("takes printable text")
        return said

    @field_validator("retry_delays_s")
    @classmethod
    def _check_sum(cls, said: list[int] | None) -> list[int] | None:
        if said is not None and sum(said) * 1_000_000 > EXPIRES_AFTER_US:
            raise ValueError(f"adds up to {sum(said)} seconds; nothing is tried for more than four days (345600)")
        return said

    def wish(self) -> Wish:
        """What was said, and nothing else."""
        members: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        if self.rate is not None:
            members["rate"] = self.rate.rate()
        if self.retry_delays_s is not None:
            members["retry_delays_s"] = tuple(self.retry_delays_s)
        if "give_up_on" in members:
            members["give_up_on"] = tuple(sorted(set(self.give_up_on)))
        return cast(Wish, members)


class WebhookDocument(_Settings):
    """The body of `POST /v1/webhooks`."""

    url: str
    secret: str | None = Field(None, repr=False)

    def wish(self) -> Wish:
        members = {name: value for name, value in super().wish().items() if name != "secret"}
        # Nobody is sent everything by leaving them out.
        return cast(Wish, {**members, "events": self.events})


class ChangeDocument(_Settings):
    """The body of `PATCH /v1/webhooks/{id}`."""

    url: str = ""


class ResumeDocument(Document):
    """The body of `POST /v1/webhooks/{id}/resume`."""

    # What was planned since then, in microseconds, is kept of what was held: 0 = all, None = nothing.
    held: Any = 0

    @field_validator("held")
    @classmethod
    def _read_held(cls, said: Any) -> int | None:
        match said:
            case "all":
                return 0
            case "none":
                return None
            case {"since": str(since), **more} if not more:
                return parse_time_us(since)
        raise ValueError('takes "all", "none" or {"since": TIME}')


class RotateDocument(Document):
    """The body of `POST /v1/webhooks/{id}/secret/rotate`."""

    overlap_s: int = Field(_DAY_S, ge=0, le=7 * _DAY_S, alias="overlapSeconds")
    secret: str | None = Field(None, repr=False)


_D = TypeVar("_D", bound=Document)


async def read_document(request: Request, kind: type[_D], *, is_optional: bool = False) -> _D:
    """The body as a `kind`; where it is optional, no body says nothing. Raises a ClientError naming the first fault."""
    body = await read_body(request, MAX_BODY_BYTES)
    if is_optional and not body:
        return kind()
    # Also keeps other sites' pages out: a browser sends them this type only after asking.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("send the body as application/json")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error, kind) from None


_ELSEWHERE: Final = {
    (ChangeDocument, "secret"): "; POST /v1/webhooks/{id}/secret/rotate replaces it",
    (ChangeDocument, "status"): "; POST /v1/webhooks/{id}/pause and /resume change it",
    (WebhookDocument, "status"): "; did you mean 'disabled'?",
}
"""Where a member is that somebody looks for in another place."""


def _refusal(error: ValidationError, kind: type[Document]) -> InvalidRequest | InvalidWebhook:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    # A misspelt member is also missing under its right name; the spelling is what helps.
    fault = next((it for it in faults if it["type"] == "extra_forbidden"), faults[0])
    if fault["type"] == "json_invalid":
        return InvalidRequest(f"the body is not JSON: {fault['msg'].removeprefix('Invalid JSON: ')}")
    field = ".".join(map(str, fault["loc"]))
    if not fault["loc"]:
        return InvalidWebhook("the body is not a JSON object")
    return InvalidWebhook(_sentence(fault, field, kind), field=field)


def _sentence(fault: ErrorDetails, field: str, kind: type[Document]) -> str:
    if fault["type"] == "extra_forbidden":
        *above, last = map(str, fault["loc"])
        known = [it.alias or name for name, it in (RateDocument if above else kind).model_fields.items()]
        word = last[:_MOST_REPEATED]
        return f"unknown member '{word}'{_ELSEWHERE.get((kind, last)) or nearest(word, known)}"
    said = fault["msg"].removeprefix("Value error, ")
    return f"'{field}' {said}" if fault["type"] == "value_error" else f"'{field}': {said}"
