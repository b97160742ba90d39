"""Who asks: every desk function, subscription and endpoint belongs to a principal, and through it to one team."""

from dataclasses import dataclass
from typing import Literal

from monitor.events.model import DEFAULT_TEAM

Role = Literal["viewer", "operator", "builder", "admin"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated asker. It sees its own team's data and nothing else, whatever it names."""

    team: str
    name: str
    role: Role


LOCAL = Principal(team=DEFAULT_TEAM, name="local", role="admin")
"""Whoever reaches a service without authentication, which listens on loopback only."""
