"""Where a topic is: the address `kafka://host:port,host:port/topic`."""

import re
from typing import Final, NamedTuple, Self

from monitor.errors import SettingsInvalid

# Kafka's own rule for topic names (org.apache.kafka.common.internals.Topic); hosts may be IPv6 in brackets.
_ADDRESS: Final = re.compile(r"kafka://(?P<servers>[^/\s]+)/(?P<topic>[A-Za-z0-9._-]{1,249})")
_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\[\]:,]+):\d{1,5}")


class Address(NamedTuple):
    """A topic and the servers to ask for it, as clients want them: `host:port,host:port`."""

    bootstrap: str
    topic: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises SettingsInvalid, with the shape that is wanted, for anything else."""
        found = _ADDRESS.fullmatch(url)
        if not found or not all(_SERVER.fullmatch(server) for server in found["servers"].split(",")):
            raise SettingsInvalid(f"{url!r} is no Kafka journal: write kafka://host:port,host:port/topic")
        return cls(found["servers"], found["topic"])
