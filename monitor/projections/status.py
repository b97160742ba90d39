"""The status words of an execution and what they mean for everybody who asks."""

from typing import Final

STATUSES: Final = ("queued", "running", "waiting", "success", "failed", "cancelled", "timeout", "crashed")

IN_FLIGHT: Final = frozenset({"queued", "running", "waiting"})

FINAL: Final = frozenset(STATUSES) - IN_FLIGHT


def is_final(status: str) -> bool:
    """Whether an execution with this status has ended (a presumed crash may still be revoked)."""
    return status in FINAL
