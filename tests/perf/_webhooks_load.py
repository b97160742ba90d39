"""Publisher and receiver in one process of their own, told what to do: the load of `scripts/bench webhooks`."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from tests.perf._machine import FIRST_CORE, SECOND_CORE, busy_s, on_core
from tests.support.processes import dying_with_us

Who = Literal["all", "turns", "half"]
"""Which endpoints want an event: all; one after another; the first one every other event, the rest in turns."""

_LATE_S: Final = 0.3
"""A repetition that comes at all has come by then: nothing is retried sooner than after seconds."""


class Seen(NamedTuple):
    """What came of one command, and what it cost whoever sent the deliveries."""

    events: int
    deliveries: int
    # Requests to the endpoint that is counted apart: of `half`, the first one.
    apart: int
    # Deliveries that did not come in time.
    missing: int
    # Since the process began: deliveries that came again; came under the id of another one; were nobody's.
    doubled: int
    reused: int
    foreign: int
    began_us: int
    ended_us: int
    server_cpu_s: float
    own_cpu_s: float
    # From the time at which an event was due until its request was there; of those missing, how long they are.
    p50_us: int
    p99_us: int
    max_us: int
    # Share of the sender's core that something else took.
    others: float

    @property
    def wall_s(self) -> float:
        """Until the last delivery."""
        return (self.ended_us - self.began_us) / 1e6

    @property
    def per_s(self) -> float:
        """Deliveries per second."""
        return self.deliveries / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        """Deliveries per CPU second of the sender."""
        return self.deliveries / self.server_cpu_s

    def checked(self) -> "Seen":
        """Itself, unless a delivery was lost or came twice: then nothing else of it counts."""
        assert self.missing == 0, f"not every delivery came: {self}"
        return self.undoubled()

    def undoubled(self) -> "Seen":
        """Itself, unless a delivery came twice or to the wrong place."""
        assert (self.doubled, self.reused, self.foreign) == (0, 0, 0), f"not every delivery came once: {self}"
        return self


class Load:
    """Publishes to one service and receives what that delivers; or only receives."""

    def __init__(self, program: Path) -> None:
        with on_core(SECOND_CORE):
            self._process = subprocess.Popen(
                dying_with_us([str(program)]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        self.port = int(self._line())
        self._busy_s = 0.0

    def url(self, endpoint: int) -> str:
        """Where an endpoint is to be registered."""
        return f"http://127.0.0.1:{self.port}/{endpoint}"

    def serve(self, pid: int, port: int = 0) -> None:
        """From now on the CPU of this process counts, and events are posted to its port."""
        self._run(f"serve {pid} {port}")

    def endpoints(self, count: int, who: Who) -> None:
        """Expect events at so many from now on, and forget what was."""
        self._run(f"endpoints {count} {who}")

    def hang(self) -> None:
        """Of `half`, let the first endpoint take requests and never answer."""
        self._run("hang")

    def window(self, batch: int, outstanding: int, seconds: float) -> Seen:
        """Closed loop: `batch` events in one POST whenever no more than `outstanding` deliveries are still to come."""
        return self._run(f"window {batch} {outstanding} {seconds}").checked()

    def rate(self, per_s: float, seconds: float) -> Seen:
        """Open loop. What is due goes out together once the service has accepted what was before."""
        return self.rate_in_part(per_s, seconds).checked()

    def rate_in_part(self, per_s: float, seconds: float) -> Seen:
        """The same where it may be that not everything comes in time."""
        return self._run(f"rate {per_s} {seconds}").undoubled()

    def publish(self, events: int) -> None:
        """Return once these are accepted, wherever the deliveries are."""
        self._run(f"publish {events}")

    def begin_await(self, events: int) -> int:
        """Expect the deliveries of so many events that somebody else sends; gives the number of the first one.

        `answer` has what came of it.
        """
        self._tell(f"await {events}")
        return int(json.loads(self._line())["first"])

    def rest(self, seconds: float = _LATE_S) -> Seen:
        """What still comes meanwhile."""
        return self._run(f"rest {seconds}").undoubled()

    def patience(self, seconds: float) -> None:
        """How long whatever is missing is waited for."""
        self._run(f"patience {seconds}")

    def sample(self, file: Path) -> Path:
        """The last request as it came, written to the file."""
        self._run(f"sample {file}")
        return file

    def answer(self) -> Seen:
        """What came of the command that was begun."""
        said: dict[str, Any] = json.loads(self._line())
        wall_s = max((said["ended_us"] - said["began_us"]) / 1e6, 1e-6)
        others = max(0.0, (busy_s(FIRST_CORE) - self._busy_s - said["server_cpu_s"]) / wall_s)
        return Seen(**said, others=others)

    def close(self) -> None:
        """End the process and with it all connections."""
        self._process.kill()
        self._process.communicate()

    def _run(self, command: str) -> Seen:
        self._tell(command)
        return self.answer()

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._busy_s = busy_s(FIRST_CORE)
        self._process.stdin.write(f"{command}\n")

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the load program ended; it has said why"
        return line
