"""Holds messages against the contract of topics, streams and webhooks, more strictly than it asks: no further members.

So what is said has all the members that are promised, and none that nobody was told of.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker

Json = dict[str, Any]

EVERYDAY: Final = {
    *("stream.hello", "stream.subscribed", "stream.unsubscribed", "stream.pong", "stream.error", "stream.snapshot"),
    *("stream.snapshot-end", "stream.reset", "stream.log-gap", "stream.end", "stream.drain", "stream.shed"),
}
"""Control frames that any service says when it is asked for them; the others need their time, or trouble."""

_FORMATS: Final = FormatChecker(formats=())


@_FORMATS.checks("printable")
def _is_printable(said: object) -> bool:
    """The format of our own that names have."""
    return not isinstance(said, str) or said.isprintable()


def _closed(messages: Mapping[str, Json], schemas: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """The schemas, without room for what they do not name; but for those that are a part of something larger."""
    parts = {part.get("$ref", "") for it in messages.values() for part in it["payload"].get("allOf", ())}
    for name, schema in schemas.items():
        is_open = "additionalProperties" in schema or f"#/components/schemas/{name}" in parts
        yield name, schema if is_open or "properties" not in schema else {**schema, "unevaluatedProperties": False}


class Contract:
    """A document of AsyncAPI, as it is served."""

    def __init__(self, document: Json) -> None:
        messages, schemas = document["components"]["messages"], document["components"]["schemas"]
        self._components = {"messages": messages, "schemas": dict(_closed(messages, schemas))}
        self._channels = document["channels"]

    def faults(self, channel: str, said: Mapping[str, Any], *, word: str = "type") -> list[str]:
        """What is wrong with a message on a channel; `word` is the member that tells which of its messages it is."""
        return self._faults_of(self._message(channel, said[word]), "payload", said)

    def faults_of_headers(self, channel: str, name: str, headers: Mapping[str, str]) -> list[str]:
        """What is wrong with the headers of a message."""
        return self._faults_of(self._message(channel, name), "headers", headers)

    def _message(self, channel: str, name: str) -> str:
        """The id of the message of this title; of those for all other types where there is none."""
        ids: Iterable[str] = self._channels[channel]["messages"]
        titled = {self._components["messages"][id_]["title"]: id_ for id_ in ids}
        return titled[name] if name in titled else titled["any other type"]

    def _faults_of(self, id_: str, part: str, said: Any) -> list[str]:
        schema = {
            "components": self._components,
            "$ref": f"#/components/messages/{id_}/{part}",
            "unevaluatedProperties": False,
        }
        found = Draft202012Validator(schema, format_checker=_FORMATS).iter_errors(said)
        return [f"{id_}: {it.json_path} {it.message[:300]}" for it in found]
