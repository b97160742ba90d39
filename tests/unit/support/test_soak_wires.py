"""The soak's readers make frames of a stream's bytes, however they are cut."""

import pytest

from tests.support.soak.wires import EventReader

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """As it is sent."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("cut", [True, False])
def test_checkpoint_before_a_frame_without_a_position(cut: bool) -> None:
    """It moves the client on, also where both come at once."""
    reader, checkpoint = EventReader(), b"id: p1\n\n"
    fresh = b'event: stream.fresh\ndata: {"type":"stream.fresh"}\n\n'
    pieces = [HEAD + chunk(checkpoint), chunk(fresh)] if cut else [HEAD + chunk(checkpoint + fresh)]
    frames = [frame for piece in pieces for frame in reader.feed(piece)]
    assert frames == [{"type": "stream.checkpoint", "position": "p1"}, {"type": "stream.fresh"}]
