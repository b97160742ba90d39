"""The command line on real processes, files and sockets: what it does, what it says, how it exits."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from monitor import __version__
from monitor.app import open_parts
from monitor.events.model import DEFAULT_TEAM
from monitor.settings import read_settings
from monitor.sources.n8n_log import translate
from tests.support.command_line import INHERITED, Answer, monitor, monitor_reading
from tests.support.kafka import Kafka
from tests.support.service import Service, eventually

N8N = Path(__file__).parents[1] / "data" / "n8n"
LOGS = [str(path) for path in sorted(N8N.glob("*.log"))]
TRUTH = json.loads((N8N / "truth.json").read_text())["executions"]

# n8n's words for statuses, and ours. 39 was killed, which no log line tells.
OURS = {"success": "success", "error": "failed", "canceled": "cancelled"}
EXPECTED = {
    f"n8n:{execution['execution']}": "running" if execution["status"] == "crashed" else OURS[execution["status"]]
    for execution in TRUTH
}

EVENT = {"type": "execution.started", "executionId": "e1", "timestamp": "2026-11-22T10:30:00Z"}
LINE = json.dumps(EVENT)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that the test launches."""
    made = Service(tmp_path / "data")
    try:
        yield made
    finally:
        made.close()


async def statuses(url: str) -> dict[str, str]:
    """The status of every execution in the list."""
    found: dict[str, str] = {}
    params = {"limit": "100"}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        while True:
            page = (await client.get(f"{url}/v1/executions", params=params)).json()
            found |= {row["id"]: row["status"] for row in page["data"]}
            if not page["pagination"]["hasMore"]:
                return found
            params["cursor"] = page["pagination"]["nextCursor"]


async def expect(url: str, expected: dict[str, str]) -> None:
    """Return when the list shows exactly that: what was taken in is folded a moment later."""
    found: dict[str, str] = {}

    async def is_so() -> bool:
        nonlocal found
        found = await statuses(url)
        return found == expected

    await eventually(is_so, what=lambda: f"{found}")


def test_help_and_version_answer_without_settings() -> None:
    """Even with settings that no service could start with."""
    assert monitor("--version", port="nonsense").out == f"{__version__}\n"
    shown = monitor("--help", port="nonsense").out
    assert [name for name in ("serve", "demo", "send", "follow", "tail", "import", "doctor") if name not in shown] == []


# --- serve -----------------------------------------------------------------------------------------------------------


async def test_service_drains_on_sigterm(service: Service) -> None:
    """Exit code 0, and what it took in is there at the next start."""
    service.launch()
    await service.ready()
    assert monitor_reading(LINE, "send", "-", "--url", service.url).code == 0
    assert await service.stop() == 0
    service.launch()
    await service.ready()
    await expect(service.url, {"e1": "running"})


def refusals(folder: Path) -> dict[str, tuple[dict[str, str | Path], str]]:
    """Settings that cannot be served with, and what has to be in the line that says so."""
    (file := folder / "file").write_text("")
    (foreign := folder / "foreign").mkdir()
    (foreign / "journal.db").write_text("this is no database, and long enough to be looked at as one by SQLite" * 20)
    return {
        "unknown setting": ({"jurnal": "x"}, "unknown setting MONITOR_JURNAL; did you mean MONITOR_JOURNAL?"),
        "unusable value": ({"port": "http"}, "MONITOR_PORT"),
        "open to the network": ({"host": "0.0.0.0", "auth": "off"}, "loopback"),  # noqa: S104 - that is what is refused
        "folder is a file": ({"data": file}, str(file)),
        "folder below a file": ({"data": file / "below"}, str(file)),
        "journal is no database": ({"data": foreign}, str(foreign / "journal.db")),
    }


@pytest.mark.parametrize(
    "case",
    [
        "unknown setting",
        "unusable value",
        "open to the network",
        "folder is a file",
        "folder below a file",
        "journal is no database",
    ],
)
def test_what_cannot_start_says_why_in_one_line(case: str, tmp_path: Path) -> None:
    """Exit code 2, one line on stderr that names the culprit, nothing on stdout."""
    settings, named = refusals(tmp_path)[case]
    usual: dict[str, str | Path] = {"data": tmp_path / "data", "port": "0"}
    answer = monitor("serve", **(usual | settings))
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert answer.err.startswith("monitor: ")
    assert named in answer.err


def test_port_in_use_names_the_cure(tmp_path: Path) -> None:
    """Exit code 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = monitor("serve", "--port", str(port), data=tmp_path / "data")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert f"127.0.0.1:{port}" in answer.err
    assert "--port" in answer.err


def test_journal_that_is_away_is_said_at_the_end(tmp_path: Path) -> None:
    """Exit code 1: it may be there at the next try, so whoever watches over the process may start it again."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        answer = monitor("serve", "--port", "0", data=tmp_path / "data", journal=f"kafka://{address}/events")
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith(f"monitor: Kafka at {address} does not answer")


async def test_second_process_on_a_data_folder_is_refused(service: Service) -> None:
    """Two writers would tear the journal; the first goes on undisturbed."""
    service.launch()
    await service.ready()
    answer = monitor("serve", "--port", "0", data=service.data)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert str(service.pid) in answer.err
    assert monitor_reading(LINE, "send", "-", "--url", service.url).code == 0


# --- send ------------------------------------------------------------------------------------------------------------


async def test_every_form_of_file_is_sent(service: Service, tmp_path: Path) -> None:
    """An array, lines, one event over several lines, and stdin."""
    service.launch()
    await service.ready()
    forms = {
        "array": json.dumps([EVENT | {"executionId": "a1"}, EVENT | {"executionId": "a2"}]),
        "lines": "".join(json.dumps(EVENT | {"executionId": name}) + "\n" for name in ("l1", "l2", "l3")),
        "single": json.dumps(EVENT | {"executionId": "s1"}, indent=2),
    }
    for name, content in forms.items():
        (tmp_path / name).write_text(content)
    sent = [monitor("send", tmp_path / name, "--url", service.url) for name in forms]
    sent.append(monitor_reading(LINE, "send", "-", "--url", service.url))
    assert [answer.out for answer in sent] == [f"{n} accepted, 0 duplicate, 0 rejected\n" for n in (2, 3, 1, 1)]
    await expect(service.url, dict.fromkeys(("a1", "a2", "l1", "l2", "l3", "s1", "e1"), "running"))


async def test_more_than_a_batch_arrives_and_again_changes_nothing(service: Service, tmp_path: Path) -> None:
    """2,500 events in three requests; the second time every one is a repeat."""
    service.launch()
    await service.ready()
    (tmp_path / "many").write_text("".join(json.dumps(EVENT | {"executionId": f"m{n}"}) + "\n" for n in range(2500)))
    first, second = [monitor("send", tmp_path / "many", "--url", service.url, "--json") for _ in range(2)]
    assert (first.document["accepted"], second.document["duplicate"]) == (2500, 2500)


async def test_rejected_lines_are_named_and_the_rest_is_kept(service: Service) -> None:
    """Exit code 1; place and reason on stderr."""
    service.launch()
    await service.ready()
    lines = "\n".join([LINE, "{no json", json.dumps({"type": "execution.started"})])
    answer = monitor_reading(lines, "send", "-", "--url", service.url)
    assert (answer.code, answer.out) == (1, "1 accepted, 0 duplicate, 2 rejected\n")
    first, second = answer.err.splitlines()
    assert first.startswith("<stdin>:2: ")
    assert "executionId" in second
    await expect(service.url, {"e1": "running"})


def test_nobody_to_send_to_is_said_in_one_line(tmp_path: Path) -> None:
    """Exit code 1: a service may be there the next time."""
    (tmp_path / "event").write_text(LINE)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = monitor("send", tmp_path / "event", "--url", f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert (answer.code, answer.out, answer.err.count("\n")) == (1, "", 1)
    assert "monitor serve" in answer.err


def test_missing_file_is_a_wrong_argument(tmp_path: Path) -> None:
    """Exit code 2, without asking any service."""
    answer = monitor("send", tmp_path / "nothing")
    assert (answer.code, answer.out) == (2, "")
    assert "nothing" in answer.err


def monitor_on_a_terminal(*arguments: str | Path) -> tuple[str, str]:
    """What a command prints, and what it draws on the terminal that its stderr is."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "monitor", *map(str, arguments)]
    environment = INHERITED | {"TERM": "xterm"}
    try:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True, timeout=120, check=True
        )
        return done.stdout, os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)


async def test_progress_is_shown_on_a_terminal_only(service: Service, tmp_path: Path) -> None:
    """The bar goes to stderr, so that the result can be piped on."""
    service.launch()
    await service.ready()
    (tmp_path / "event").write_text(LINE)
    printed, drawn = monitor_on_a_terminal("send", tmp_path / "event", "--url", service.url)
    assert printed == "1 accepted, 0 duplicate, 0 rejected\n"
    assert "Sending" in drawn


# --- import ----------------------------------------------------------------------------------------------------------


def import_logs(*options: str | Path, files: Sequence[str] = LOGS, **settings: str | Path) -> Any:
    """The report of an import."""
    answer = monitor("import", "n8n-log", *files, "--json", *options, **settings)
    assert answer.code == 0, answer.err
    return answer.document


def events_of_logs() -> list[bytes]:
    """What an import of the logs sends."""
    named = [(log, Path(log).read_bytes().splitlines()) for log in LOGS]
    return [msgspec.json.encode(event) for event in translate(named).events]


async def test_n8n_logs_into_a_folder_give_what_n8n_reported(service: Service) -> None:
    """No service runs; the one that starts later has nothing left to do, and a second import adds nothing."""
    first = import_logs(data=service.data)
    assert (first["duplicate"], first["rejected"]) == (0, 0)
    assert first["executions"] == Counter(EXPECTED.values())
    assert import_logs(data=service.data) == first | {"accepted": 0, "duplicate": first["accepted"]}
    service.launch()
    await service.ready()
    await expect(service.url, EXPECTED)


async def test_n8n_logs_through_a_service_give_the_same(service: Service) -> None:
    """Also file by file first and all together afterwards, as they come when an import is resumed."""
    service.launch()
    await service.ready()
    import_logs("--url", service.url, files=LOGS[:1])
    import_logs("--url", service.url)
    assert import_logs("--url", service.url)["accepted"] == 0
    await expect(service.url, EXPECTED)


async def test_interrupted_import_goes_on_where_it_was(service: Service) -> None:
    """What had reached the journal, and was not folded any more, is not appended again."""
    events = events_of_logs()
    reached = events[: len(events) // 2]
    async with open_parts(read_settings({}, data=service.data)) as parts:
        await parts.intake.accept(reached, team=DEFAULT_TEAM)
    report = import_logs(data=service.data)
    assert (report["duplicate"], report["accepted"]) == (len(reached), len(events) - len(reached))
    service.launch()
    await service.ready()
    await expect(service.url, EXPECTED)


async def test_instance_names_the_executions(service: Service) -> None:
    """Numbers of two n8n instances begin anew with each."""
    import_logs("--instance", "prod-1", data=service.data)
    service.launch()
    await service.ready()
    await expect(service.url, {name.replace("n8n:", "prod-1:"): status for name, status in EXPECTED.items()})


async def test_n8n_logs_by_way_of_kafka_give_the_same(kafka: Kafka, tmp_path: Path) -> None:
    """The folder's store is caught up although the events went to a topic."""
    journal = f"kafka://{kafka.bootstrap}/{await kafka.create_topic(partitions=3)}"
    service = Service(tmp_path / "data", journal=journal)
    first = import_logs(data=service.data, journal=journal)
    assert first["executions"] == Counter(EXPECTED.values())
    assert import_logs(data=service.data, journal=journal)["accepted"] == 0
    service.launch()
    try:
        await service.ready()
        assert await statuses(service.url) == EXPECTED
    finally:
        service.close()


def test_lines_that_are_no_log_are_refused_by_place(tmp_path: Path) -> None:
    """Exit code 1; what can be read is imported."""
    (mixed := tmp_path / "mixed.log").write_text((N8N / "regular-6.log").read_text() + "this is no log line\n")
    answer = monitor("import", "n8n-log", mixed, data=tmp_path / "data")
    place = f"{mixed}:{len(mixed.read_text().splitlines())}: "
    assert answer.code == 1
    assert [line.startswith(place) for line in answer.err.splitlines() if "mixed.log" in line] == [True]
    assert answer.out.splitlines()[-1] == "1 executions: 1 success"


async def test_folder_of_a_running_service_is_not_touched(service: Service) -> None:
    """Exit code 2, and the line names the way through the service."""
    service.launch()
    await service.ready()
    answer = monitor("import", "n8n-log", *LOGS, data=service.data)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "--url" in answer.err
    assert await statuses(service.url) == {}


# --- doctor ----------------------------------------------------------------------------------------------------------


def findings(answer: Answer) -> dict[str, tuple[str, str]]:
    """State and text by subject."""
    return {found["subject"]: (found["state"], found["text"]) for found in answer.document["findings"]}


def test_doctor_of_an_unused_folder_makes_nothing(tmp_path: Path) -> None:
    """It looks and does not touch."""
    answer = monitor("doctor", "--json", data=tmp_path / "data")
    assert answer.code == 0
    assert findings(answer)["journal"] == ("ok", "none yet; the first start makes it")
    assert not (tmp_path / "data").exists()


async def test_doctor_tells_how_far_a_running_service_is(service: Service) -> None:
    """Beside it, without disturbing it."""
    service.launch()
    await service.ready()
    monitor_reading(LINE, "send", "-", "--url", service.url)
    await expect(service.url, {"e1": "running"})
    answer = monitor("doctor", "--json", data=service.data)
    found = findings(answer)
    assert answer.code == 0
    assert str(service.pid) in found["lock"][1]
    assert found["anchors"] == ("ok", "the store was folded from this journal")
    assert found["partition 0"] == ("ok", "holds offsets 0 to 1, folded up to 1, lag 0")
    assert found["key"] == ("ok", f"{service.data / 'key'} fits the store")
    assert found["webhooks"] == ("ok", "nothing is owed")


def test_doctor_finds_a_journal_that_is_not_the_stores(tmp_path: Path) -> None:
    """Exit code 1 and the cure."""
    data = tmp_path / "data"
    import_logs(data=data)
    for file in data.glob("journal.db*"):
        file.unlink()
    import_logs(data=tmp_path / "other")
    for file in (tmp_path / "other").glob("journal.db*"):
        file.rename(data / file.name)
    answer = monitor("doctor", "--json", data=data)
    assert answer.code == 2
    assert findings(answer)["anchors"][0] == "fail"


async def test_doctor_looks_into_kafka(kafka: Kafka, tmp_path: Path) -> None:
    """The topic's weaknesses are warnings; nothing is created, and a topic that is missing is a failure."""
    topic = await kafka.create_topic(partitions=3)
    there = monitor("doctor", "--json", data=tmp_path / "data", journal=f"kafka://{kafka.bootstrap}/{topic}")
    assert there.code == 1
    assert findings(there)["journal"][1].endswith("3 partition(s)")
    assert findings(there)[topic][0] == "warn"
    missing = monitor("doctor", "--json", data=tmp_path / "data", journal=f"kafka://{kafka.bootstrap}/no-such-topic")
    assert missing.code == 2
    assert "no topic no-such-topic" in findings(missing)["journal"][1]


def test_doctor_names_a_wrong_setting(tmp_path: Path) -> None:
    """And does not guess where the data might be."""
    answer = monitor("doctor", "--json", data=tmp_path, jurnal="x")
    assert answer.code == 2
    assert findings(answer)["settings"][0] == "fail"
    assert "journal" not in findings(answer)


def garbage(data: Path) -> None:
    """A store that is no database, whatever it was."""
    (data / "store.db").write_bytes(b"no database, and long enough to be looked at as one by SQLite" * 100)


def cut_off(data: Path) -> None:
    """A copy that ended early."""
    store = data / "store.db"
    store.write_bytes(store.read_bytes()[:5000])


def other_key(data: Path) -> None:
    """Restored from somewhere else."""
    (data / "key").write_bytes(bytes(32))


@pytest.mark.parametrize(
    ("harm", "subject", "words"),
    [
        (garbage, "store", "damaged or no store"),
        (cut_off, "store", "damaged"),
        (other_key, "key", "does not open the secrets"),
        (lambda data: (data / "key").write_bytes(b"short"), "key", "is no key"),
        (lambda data: (data / "key").unlink(), "key", "is missing"),
        (
            lambda data: (data / "journal.db").write_bytes(b"no journal at all" * 500),
            "journal",
            "damaged or no journal",
        ),
    ],
)
async def test_doctor_survives_what_it_finds(
    service: Service, harm: Callable[[Path], object], subject: str, words: str
) -> None:
    """A failure that names its cure, and everything else is still looked at; the files are as they were."""
    service.launch()
    await service.ready()
    monitor_reading(LINE, "send", "-", "--url", service.url)
    await expect(service.url, {"e1": "running"})
    assert await service.stop() == 0
    harm(service.data)
    before = {path.name: path.read_bytes() for path in service.data.iterdir() if path.is_file()}
    answer = monitor("doctor", "--json", data=service.data)
    assert (answer.code, answer.err) == (2, "")
    found = findings(answer)
    assert (found[subject][0], words in found[subject][1]) == ("fail", True), found[subject]
    assert {"disk", "lock", "journal"} <= found.keys()
    assert {path.name: path.read_bytes() for path in service.data.iterdir() if path.is_file()} == before


async def test_doctor_asks_a_service_that_runs_elsewhere(service: Service) -> None:
    """Nothing of this machine is looked at; who is not there, or is something else, fails."""
    service.launch()
    await service.ready()
    answer = monitor("doctor", "--json", "--url", service.url, jurnal="x")
    told = {"ready": "ok", "partition 0": "ok", "webhooks": "ok", "clock": "ok"}
    assert (answer.code, {subject: state for subject, (state, _) in findings(answer).items()}) == (0, told)
    away = monitor("doctor", "--json", "--url", "http://127.0.0.1:1")
    assert (away.code, findings(away)["service"][0]) == (2, "fail")
    elsewhere = monitor("doctor", "--json", "--url", f"{service.url}/v1")
    assert (elsewhere.code, "not as this service" in findings(elsewhere)["service"][1]) == (2, True)


def test_doctor_speaks_to_people_in_lines(tmp_path: Path) -> None:
    """One each, the state first."""
    lines = monitor("doctor", data=tmp_path / "data").out.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn", "fail"}
    assert len(lines) >= 6
