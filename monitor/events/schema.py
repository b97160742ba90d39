"""The event contract for people and other languages: the codec's rules again in pydantic, and what `data` may say.

`EventDocument` takes and refuses what `codec.decode` does (a differential test holds them equal), but names every fault
at once; `event_schema` renders it as JSON Schema. The hot path knows neither.
"""

import math
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from monitor.events.codec import MAX_NESTING, parse_time_us
from monitor.events.model import MAX_EVENT_BYTES, MAX_ID_CHARACTERS
from monitor.events.types import CONTROL_PREFIX, DERIVED, TYPES, EventType

_LARGEST_INTEGER: Final = (1 << 53) - 1


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be printed")
    return text


def _moment(text: str) -> str:
    parse_time_us(text)
    return text


def _not_reserved(name: str) -> str:
    if name.startswith(CONTROL_PREFIX) or name in DERIVED:
        raise ValueError("is reserved for the monitor itself")
    return name


def _writable(value: Any, levels: int = MAX_NESTING) -> Any:
    """Everything in `data` must be fit to be written again, whichever JSON writer writes it."""
    if isinstance(value, dict | list):
        if levels == 0:
            raise ValueError(f"is nested more than {MAX_NESTING} levels deep")
        for child in value.values() if isinstance(value, dict) else value:
            _writable(child, levels - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that is none")
    elif type(value) is int and not -(1 << 63) <= value < 1 << 64:
        raise ValueError("holds a whole number of more than 64 bits")
    return value


Id = Annotated[
    str,
    Field(min_length=1, max_length=MAX_ID_CHARACTERS, json_schema_extra={"format": "printable"}),
    AfterValidator(_printable),
]
TypeName = Annotated[Id, AfterValidator(_not_reserved)]
Moment = Annotated[
    str, Field(max_length=64), AfterValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]
Ordinal = Annotated[int, Field(ge=1, le=_LARGEST_INTEGER)]
Index = Annotated[int, Field(ge=0, le=_LARGEST_INTEGER)]

# Optional members of `data`: documented with their type, taken with any; one of another type says nothing.
Text = Annotated[Any, WithJsonSchema({"type": "string"})]
TextOrCount = Annotated[Any, WithJsonSchema({"type": ["string", "integer"], "minimum": 0})]
Texts = Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "string"}})]
Time = Annotated[Any, WithJsonSchema({"type": "string", "format": "date-time"})]
Count = Annotated[Any, WithJsonSchema({"type": "integer", "minimum": 0})]
Seconds = Annotated[Any, WithJsonSchema({"type": "number", "minimum": 0, "description": "Seconds."})]
Flag = Annotated[Any, WithJsonSchema({"type": "boolean"})]
Object = Annotated[Any, WithJsonSchema({"type": "object"})]


class _Open(BaseModel):
    """Unknown members are kept and forwarded."""

    # Built when it is first used: a start needs none of it.
    model_config = ConfigDict(strict=True, extra="allow", alias_generator=to_camel, defer_build=True)


class EventDocument(_Open):
    """One fact about one execution, as a producer writes it."""

    type: TypeName
    execution_id: Annotated[Id, Field(description="With the team, the identity of the execution.")]
    timestamp: Annotated[Moment, Field(description="RFC 3339 with an offset, by the producer's clock; 1970 to 2099.")]
    workflow_id: Annotated[Id | None, Field(description="The first one named holds.")] = None
    id: Annotated[Id | None, Field(description="Tells repeats; without one, a hash of source and bytes.")] = None
    source: Annotated[Id | None, Field(description="Who says it: the engine's instance.")] = None
    sequence: Annotated[Ordinal | None, Field(description="Dense per source, execution and epoch.")] = None
    epoch: Annotated[Index, Field(description="Counts restarts in place; the highest wins.")] = 0
    data: Annotated[dict[str, Any], AfterValidator(_writable)] | None = None
    backfill: Annotated[bool, Field(description="Imported history: no webhooks, no verdicts.")] = False
    team_id: Id | None = None
    traceparent: Annotated[str | None, Field(description="W3C Trace Context.")] = None
    tracestate: Annotated[str | None, Field(description="W3C Trace Context.")] = None

    @classmethod
    def read(cls, value: bytes) -> Self:
        """The event in `value`. Raises ValueError (pydantic's names every fault) for anything else."""
        if len(value) > MAX_EVENT_BYTES:
            raise ValueError(f"the event has {len(value)} bytes; at most {MAX_EVENT_BYTES} are taken")
        return cls.model_validate_json(value)

    @model_validator(mode="after")
    def _check_data(self) -> Self:
        if self.type in TYPES:
            data_of(TYPES[self.type]).model_validate(self.data or {})
        return self


# --- what `data` may say ---------------------------------------------------------------------------------------------


class Anything(_Open):
    """Nothing is asked for."""


class Opening(_Open):
    """What is known of an execution when it begins."""

    workflow_name: Text = None
    workflow_version: TextOrCount = None
    mode: Annotated[
        Text, Field(description="manual, trigger, webhook, scheduled, retry, or the engine's own word.")
    ] = None
    trigger: Annotated[Object, Field(description="type, source, payload, timestamp.")] = None
    input_data: Any = None
    node_count: Annotated[Count, Field(description="Nodes declared.")] = None
    retry_of: Annotated[Text, Field(description="The execution that this one repeats.")] = None
    parent: Annotated[Object, Field(description="executionId, nodeId.")] = None
    metadata: Annotated[Object, Field(description="retryCount, queueTime, memoryUsage, dataTransferred, ...")] = None
    heartbeat: Annotated[Seconds, Field(description="How often it gives a sign of life while it runs, in seconds.")] = (
        None
    )
    deadline_at: Annotated[Time, Field(description="When it should have ended.")] = None
    tags: Texts = None


class Advance(_Open):
    """How far it is."""

    completed: Count = None
    total: Count = None
    current: Annotated[Text, Field(description="What it works on.")] = None
    message: Text = None


class Wait(_Open):
    """What it waits for."""

    kind: Annotated[Text, Field(description="timer, webhook, approval, child, backoff or manual.")] = None
    until: Time = None


class End(_Open):
    """How it ended."""

    status: Text = None
    duration: Seconds = None
    output_data: Any = None
    error: Annotated[Object, Field(description="type, message, stack, nodeId, timestamp, details.")] = None
    node_count: Count = None
    metadata: Object = None
    reason: Text = None
    provisional: Annotated[Flag, Field(description="Presumed by the monitor; any later sign of life revokes it.")] = (
        None
    )
    as_of: Annotated[Time, Field(description="Of a presumption: the latest evidence that it rests on.")] = None


class Silence(_Open):
    """What the monitor says of an execution that keeps silent."""

    as_of: Annotated[Time, Field(description="The latest evidence that it rests on.")] = None
    heartbeat: Seconds = None
    reason: Text = None


class Lateness(_Open):
    """What the monitor says of an execution that has not ended in time."""

    as_of: Time = None
    deadline_at: Time = None
    reason: Text = None


class Note(_Open):
    """What a person noted; each member replaces its last value, null removes it."""

    tags: Texts = None
    vote: Text = None
    note: Text = None
    actor: Annotated[Text, Field(description="Who noted it.")] = None


class NodeData(_Open):
    """A run of a node: (nodeId, iteration, attempt)."""

    node_id: Id
    iteration: Annotated[Index | None, Field(description="Of a loop, from 0.")] = 0
    attempt: Annotated[Ordinal | None, Field(description="From 1.")] = 1
    node_name: Text = None
    node_type: Text = None
    status: Text = None
    duration: Seconds = None
    input_data: Any = None
    output_data: Any = None
    error: Object = None
    retry_count: Count = None


class Line(_Open):
    """A line of a log."""

    message: str
    timestamp: Time = None
    level: Annotated[Text, Field(description="debug, info, warn or error; usual synonyms are understood.")] = None
    node_id: Text = None
    data: Any = None


class LogData(_Open):
    """Lines of a log."""

    lines: Annotated[list[Line], Field(min_length=1)]
    final: Annotated[Flag, Field(description="No more lines follow.")] = None


class CommandData(_Open):
    """What somebody asked the engine for, and what became of it."""

    command_id: Id
    kind: Annotated[Text, Field(description="execute, cancel or retry.")] = None
    actor: Text = None
    reason: Text = None
    args: Object = None
    execution_id: Annotated[Text, Field(description="The execution, where the engine makes up ids.")] = None
    status: Text = None
    error: Object = None


_OF_EXECUTIONS: Final[dict[str, type[BaseModel]]] = {
    "execution.queued": Opening,
    "execution.started": Opening,
    "execution.progress": Advance,
    "execution.waiting": Wait,
    "execution.completed": End,
    "execution.failed": End,
    "execution.cancelled": End,
    "execution.annotated": Note,
    "execution.late": Lateness,
    "execution.stalled": Silence,
}
_OF_FAMILIES: Final[dict[str, type[BaseModel]]] = {"node": NodeData, "log": LogData, "command": CommandData}


def data_of(kind: EventType) -> type[BaseModel]:
    """The model of the `data` of a type."""
    return _OF_EXECUTIONS.get(kind.name) or _OF_FAMILIES.get(kind.family) or Anything


class PlainSchema(GenerateJsonSchema):
    """Leaves out what says nothing: titles that repeat names, and defaults that mean absence."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def event_schema(kind: EventType) -> dict[str, Any]:
    """JSON Schema (2020-12) of the events of one type."""
    schema = EventDocument.model_json_schema(schema_generator=PlainSchema)
    data = data_of(kind).model_json_schema(schema_generator=PlainSchema)
    definitions = data.pop("$defs", {})
    if kind.outcomes:
        data["properties"]["status"]["enum"] = sorted(kind.outcomes)
    schema["properties"]["type"] = {"const": kind.name}
    schema["properties"]["data"] = data
    if data.get("required"):
        schema["required"].append("data")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{kind.name}.json",
        **schema,
        "title": kind.name,
        "description": kind.doc,
        **({"$defs": definitions} if definitions else {}),
    }
