"""The words for the status of an execution."""

from monitor.projections.status import FINAL, IN_FLIGHT, STATUSES, is_final


def test_a_status_is_in_flight_or_final() -> None:
    """Never both, never neither."""
    assert set(STATUSES) == IN_FLIGHT | FINAL
    assert not IN_FLIGHT & FINAL
    assert [status for status in STATUSES if is_final(status)] == [
        "success",
        "failed",
        "cancelled",
        "timeout",
        "crashed",
    ]
