"""Where a topic is: the address `kafka://host:port,host:port/topic`."""

import re
from typing import Final, NamedTuple, Self

from monitor.errors import SettingsInvalid
from monitor.journal.kafka.brokers import Brokers
from monitor.kafka_security import PLAINTEXT, KafkaSecurity

# Kafka's own rule for topic names (org.apache.kafka.common.internals.Topic); hosts may be IPv6 in brackets.
_ADDRESS: Final = re.compile(r"kafka://(?P<servers>[^/\s]+)/(?P<topic>[A-Za-z0-9._-]{1,249})")
_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\[\]:,]+):\d{1,5}")


class Address(NamedTuple):
    """A topic and the brokers to ask for it."""

    brokers: Brokers
    topic: str

    @classmethod
    def parse(cls, url: str, security: KafkaSecurity = PLAINTEXT) -> Self:
        """Raises SettingsInvalid, with the shape that is wanted, for anything else."""
        found = _ADDRESS.fullmatch(url)
        if not found or not all(_SERVER.fullmatch(server) for server in found["servers"].split(",")):
            raise SettingsInvalid(f"{url!r} is no Kafka journal: write kafka://host:port,host:port/topic")
        return cls(Brokers(found["servers"], security), found["topic"])
