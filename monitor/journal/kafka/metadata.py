"""Kafka's Metadata request in version 10, the first that answers with topic ids; aiokafka itself stops at 5.

Layout: clients/src/main/resources/common/message/Metadata{Request,Response}.json of Apache Kafka. Used by `topics`.
"""

from functools import cache
from typing import Any


@cache
def metadata_request() -> Any:
    """The request's class, made of aiokafka's own building blocks; its argument is a topic's name."""
    from aiokafka.protocol import api  # noqa: PLC0415
    from aiokafka.protocol.types import (  # noqa: PLC0415
        AbstractType,
        Boolean,
        CompactArray,
        CompactString,
        Int16,
        Int32,
        Schema,
        TaggedFields,
    )

    class TopicId(AbstractType[bytes]):  # type: ignore[misc] # aiokafka ships no types
        @classmethod
        def encode(cls, value: bytes) -> bytes:
            return value

        @classmethod
        def decode(cls, data: Any) -> bytes:
            return bytes(data.read(16))

    text, tags = CompactString("utf-8"), ("tags", TaggedFields)
    broker = (("node_id", Int32), ("host", text), ("port", Int32), ("rack", text), tags)
    partition = (
        ("error_code", Int16),
        ("partition", Int32),
        ("leader", Int32),
        ("leader_epoch", Int32),
        ("replicas", CompactArray(Int32)),
        ("in_sync", CompactArray(Int32)),
        ("offline", CompactArray(Int32)),
        tags,
    )
    topic = (
        ("error_code", Int16),
        ("name", text),
        ("topic_id", TopicId),
        ("is_internal", Boolean),
        ("partitions", CompactArray(*partition)),
        ("operations", Int32),
        tags,
    )

    class MetadataResponse(api.Response):  # type: ignore[misc]
        API_KEY = 3
        API_VERSION = 10
        SCHEMA = Schema(
            ("throttle_time_ms", Int32),
            ("brokers", CompactArray(*broker)),
            ("cluster_id", text),
            ("controller_id", Int32),
            ("topics", CompactArray(*topic)),
            ("operations", Int32),
            tags,
        )

    class MetadataStruct(api.RequestStruct):  # type: ignore[misc]
        API_KEY = 3
        API_VERSION = 10
        FLEXIBLE_VERSION = True
        RESPONSE_TYPE = MetadataResponse
        SCHEMA = Schema(
            ("topics", CompactArray(("topic_id", TopicId), ("name", text), tags)),
            ("allow_auto_topic_creation", Boolean),
            ("with_cluster_operations", Boolean),
            ("with_topic_operations", Boolean),
            tags,
        )

    class MetadataRequest(api.Request[MetadataStruct]):  # type: ignore[misc]
        API_KEY = 3

        def __init__(self, name: str) -> None:
            self._name = name

        def build(self, request_struct_class: type[MetadataStruct]) -> MetadataStruct:
            return request_struct_class([(bytes(16), self._name, {})], False, False, False, {})

    return MetadataRequest
