"""A Kafka journal is named by one address."""

import pytest

from monitor.errors import SettingsInvalid
from monitor.journal.kafka.address import Address
from monitor.journal.kafka.brokers import Brokers


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("kafka://localhost:9092/executions.events.v1", Address(Brokers("localhost:9092"), "executions.events.v1")),
        ("kafka://a:1,b:2,[::1]:3/t_1-x", Address(Brokers("a:1,b:2,[::1]:3"), "t_1-x")),
    ],
)
def test_address_names_servers_and_topic(url: str, expected: Address) -> None:
    """Several servers, IPv6 and every character that a topic may have."""
    assert Address.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "kafka://", "kafka://host:9092", "kafka://host:9092/", "kafka://host/topic", "kafka://:9092/topic"),
        *("http://host:9092/topic", "kafka://host:port/topic", "kafka://host:9092,/topic"),
        *("kafka://host:9092/two/parts", "kafka://host:9092/spa ce", "kafka://host:9092/" + "t" * 250),
        "kafka://host:9092/topic?x=1",
    ],
)
def test_anything_else_is_refused_with_the_shape(url: str) -> None:
    """The error shows what to write."""
    with pytest.raises(SettingsInvalid, match="kafka://host:port,host:port/topic"):
        Address.parse(url)
