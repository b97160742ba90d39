"""What a house is made of, and the processes of the service that stand in it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from tests.support.kafka_cluster import Cluster
from tests.support.postgres import Server
from tests.support.receiver import LOOPBACK
from tests.support.service import Service

Role = Literal["all", "projector", "gateway", "deliverer"]


class Shape(NamedTuple):
    """What the house is made of."""

    journal: Literal["embedded", "kafka"] = "kafka"
    store: Literal["sqlite", "postgres"] = "sqlite"
    # How many processes of each role.
    roles: Mapping[Role, int] = MappingProxyType({"all": 1})
    partitions: int = 3
    # About so many.
    clients: int = 30
    # Between what was just told and the first fault.
    warm_up: int = 300


EMBEDDED: Final = Shape(journal="embedded", partitions=1)
"""With nothing but Python."""

SPREAD: Final = Shape(
    store="postgres", roles=MappingProxyType({"projector": 2, "gateway": 3, "deliverer": 2}), partitions=6
)
"""As a cluster runs it."""


class Ground(NamedTuple):
    """What houses stand on, as far as their shape wants it."""

    cluster: Cluster | None = None
    postgres: Server | None = None


def made(folder: Path, shape: Shape, settings: Mapping[str, str]) -> dict[str, Service]:
    """The processes, named by role and number; none is started."""
    usual = {"webhook_allow": ",".join(LOOPBACK), "rate_limit": "10000", "demo": "off"}
    services = {}
    for role, number in shape.roles.items():
        of_role = {} if role == "all" else {"role": role}
        for place in range(1, number + 1):
            name = f"{role}-{place}"
            services[name] = Service(folder / name, **usual, **settings, **of_role)
    return services
