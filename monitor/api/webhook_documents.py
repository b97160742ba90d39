"""Bodies of requests about webhooks, as they are documented."""

from math import ceil
from typing import Annotated, Any, ClassVar, Final, Literal, cast

from pydantic import ConfigDict, Field, WithJsonSchema, field_validator
from pydantic.config import JsonDict

from monitor.errors import ClientError, InvalidWebhook
from monitor.events.codec import parse_time_us
from monitor.executions.wishes import Wish
from monitor.web.documents import PRINTABLE, Document
from monitor.web.filters import filter_object
from monitor.webhooks.endpoint import EVENT_CHOICES, MAX_IN_FLIGHT, MOST_IN_FLIGHT, TIMEOUT_S, Ordering, Rate
from monitor.webhooks.headers import MAX_HEADERS
from monitor.webhooks.schedule import EXPIRES_AFTER_US

_DAY_S: Final = 86_400

Delay = Annotated[int, Field(ge=1, le=_DAY_S)]
Status = Annotated[int, Field(ge=300, le=599)]


_GROUP: Final = "[A-Za-z0-9+/]"

Secret = Annotated[
    str,
    Field(
        json_schema_extra={
            "description": "whsec_ and 24 to 64 bytes in base64; without one, a random one is made.",
            "pattern": f"^whsec_({_GROUP}{{4}}){{8,20}}({_GROUP}{{4}}|{_GROUP}{{3}}=|{_GROUP}{{2}}==)?$",
        }
    ),
]

_EVENTS: Final[JsonDict] = {
    "description": "Types, or all that begin alike.",
    "items": {"type": "string", "enum": list(EVENT_CHOICES)},
    "minItems": 1,
}

_HEADERS: Final[JsonDict] = {
    "description": "Sent with each delivery.",
    "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"},
    "maxProperties": MAX_HEADERS,
}

_URL: Final[JsonDict] = {"format": "uri", "description": "Where deliveries go, by https."}


class _WebhookDocument(Document):
    refusal: ClassVar[type[ClientError]] = InvalidWebhook


class RateDocument(_WebhookDocument):
    """`rateLimit`."""

    per_second: float = Field(ge=0.01, le=1000, alias="perSecond")
    # How many may follow each other at once; None = a second's worth.
    burst: int | None = Field(None, ge=1, le=1000)

    def rate(self) -> Rate:
        """As an endpoint has it."""
        return Rate(self.per_second, self.burst or ceil(self.per_second))


class _Settings(_WebhookDocument):
    """What a webhook may be told. Its fields are named like an endpoint's members."""

    events: list[str] = Field([], max_length=100, json_schema_extra=_EVENTS)
    filters: Annotated[dict[str, Any], WithJsonSchema(filter_object())] = Field({})
    name: Annotated[str, Field(max_length=100), PRINTABLE] | None = None
    headers: dict[str, str] = Field({}, repr=False, json_schema_extra=_HEADERS)
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

    elsewhere: ClassVar = {"status": "; did you mean 'disabled'?"}

    model_config = ConfigDict(json_schema_extra={"required": ["url", "events"]})

    url: str = Field(json_schema_extra=_URL)
    secret: Secret | None = Field(None, repr=False)

    def wish(self) -> Wish:
        members = {name: value for name, value in super().wish().items() if name != "secret"}
        # Nobody is sent everything by leaving them out.
        return cast(Wish, {**members, "events": self.events})


class ChangeDocument(_Settings):
    """The body of `PATCH /v1/webhooks/{id}`."""

    elsewhere: ClassVar = {
        "secret": "; POST /v1/webhooks/{id}/secret/rotate replaces it",
        "status": "; POST /v1/webhooks/{id}/pause and /resume change it",
    }

    url: str = Field("", json_schema_extra=_URL | {"minLength": 1})


_HELD: Final = {
    "description": "How much of what was held is sent: all, nothing, or what was planned since a time.",
    "anyOf": [
        {"enum": ["all", "none"]},
        {
            "type": "object",
            "properties": {"since": {"type": "string", "format": "date-time"}},
            "required": ["since"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ],
}


class ResumeDocument(_WebhookDocument):
    """The body of `POST /v1/webhooks/{id}/resume`."""

    # What was planned since then, in microseconds, is kept of what was held: 0 = all, None = nothing.
    held: Annotated[Any, WithJsonSchema(_HELD)] = Field("all", validate_default=True)

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


class RotateDocument(_WebhookDocument):
    """The body of `POST /v1/webhooks/{id}/secret/rotate`."""

    overlap_s: int = Field(_DAY_S, ge=0, le=7 * _DAY_S, alias="overlapSeconds")
    secret: Secret | None = Field(None, repr=False)
