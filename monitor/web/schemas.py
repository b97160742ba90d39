"""JSON Schemas of Python's types for the contracts: each once, among the components, however many places name it."""

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, TypeAdapter
from typing_extensions import TypeIs

from monitor.events.schema import PlainSchema

Json = dict[str, Any]

Mode = Literal["validation", "serialization"]
"""Whether a document is read here, or written."""

REF: Final = "#/components/schemas/{model}"
"""Where a schema is found in a contract, by its name."""


class Schemas:
    """The schemas of some documents: TypedDicts, pydantic models, and the structs of msgspec."""

    def __init__(self, wanted: Iterable[tuple[object, Mode]]) -> None:
        distinct = dict.fromkeys(wanted)
        structs = [kind for kind, _ in distinct if _is_struct(kind)]
        self._refs, found = TypeAdapter.json_schemas(
            [(kind, mode, _adapter(kind)) for kind, mode in distinct if not _is_struct(kind)],
            ref_template=REF,
            schema_generator=PlainSchema,
        )
        _, of_structs = msgspec.json.schema_components(structs, ref_template=REF.format(model="{name}"))
        self.components: dict[str, Json] = {
            name: {word: said for word, said in schema.items() if word != "title"}
            for name, schema in {**found.get("$defs", {}), **of_structs}.items()
        }

    def of(self, kind: object, mode: Mode) -> Json:
        """The schema of a document: a reference, or the schema itself where it has no name."""
        if _is_struct(kind):
            return {"$ref": REF.format(model=kind.__name__)}
        schema: Json = self._refs[kind, mode]
        return schema if isinstance(kind, type) and issubclass(kind, BaseModel) else schema["items"]

    def resolved(self, schema: Json) -> Json:
        """The schema that a reference names."""
        name = schema.get("$ref", "").rpartition("/")[2]
        return self.components[name] if name else schema


def _is_struct(kind: object) -> TypeIs[type[msgspec.Struct]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _adapter(kind: object) -> TypeAdapter[Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return TypeAdapter(kind)
    # Typed dictionaries take what their members mean from the text below each; only a list around them can say so.
    return TypeAdapter(list[kind], config=ConfigDict(use_attribute_docstrings=True))  # type: ignore[valid-type]
