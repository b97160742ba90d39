"""Alarms and dashboard ask for what exists, alarms go off when they should and at no other time, each has its page in
the runbook, and the runbook's commands work.
"""

import ast
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from monitor.cli.service_checks import REASONS
from monitor.errors import JournalUnavailable, StoreUnavailable
from monitor.telemetry.metrics import CATALOGUE, Metric
from tests.architecture.source import read_modules
from tests.support.command_line import monitor
from tests.support.debian import Program, Unavailable
from tests.support.deployment import KEY, deployed
from tests.support.kafka import Kafka
from tests.support.promtool import MINUTES, complaints, promtool, unreadable, wrong_alarms
from tests.support.service import Service, eventually

TOP = Path(__file__).parents[2]
ALERTS = TOP / "compose" / "prometheus" / "alerts.yaml"
DASHBOARD = json.loads((TOP / "compose" / "grafana" / "dashboard.json").read_text())
RUNBOOK = (TOP / ".github" / "RUNBOOK.md").read_text()

ALARMS = re.findall(r"^ +- alert: (\w+)$", ALERTS.read_text(), re.MULTILINE)
SECTIONS = re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)

ADDRESS = "http://127.0.0.1:8080"

# Labels that Prometheus itself adds.
ADDED = {"job", "instance", "le"}

FOR_EVER = f"x{MINUTES}"
GROWS = f"0+1x{MINUTES}"
APPEARS = f"_x{MINUTES - 20} 1x20"

# By alarm: what has to be so, by pattern of series (or a series that is not there while all is well), and which other
# alarms go with it.
CASES: Mapping[str, tuple[Mapping[str, str], frozenset[str]]] = {
    "MonitorDown": ({"up": f"0{FOR_EVER}"}, frozenset()),
    "MonitorNotReady": ({"monitor_ready": f"0{FOR_EVER}"}, frozenset()),
    "MonitorBehind": ({"monitor_lag_seconds": f"61{FOR_EVER}"}, frozenset()),
    "MonitorFarBehind": ({"monitor_lag_seconds": f"901{FOR_EVER}"}, frozenset({"MonitorBehind"})),
    "MonitorStandsStill": (
        {"monitor_lag_records": f"5{FOR_EVER}", "monitor_commit_age_seconds": f"61{FOR_EVER}"},
        frozenset(),
    ),
    "MonitorPartitionsOfNobody": ({"monitor_partitions_assigned": f"0{FOR_EVER}"}, frozenset()),
    "MonitorGatewayBehind": ({"monitor_follower_lag_seconds": f"11{FOR_EVER}"}, frozenset()),
    "MonitorCommitsSlow": ({r'monitor_batch_seconds_bucket{le="\+Inf".*': f"0+60x{MINUTES}"}, frozenset()),
    "MonitorPartitionHalted": ({"monitor_partitions_halted": f"1{FOR_EVER}"}, frozenset()),
    "MonitorEventsLost": ({"monitor_records_lost_total": GROWS}, frozenset()),
    "MonitorQuarantineUndecided": ({"monitor_quarantine_undecided": f"1{FOR_EVER}"}, frozenset()),
    "MonitorCommitsFenced": ({"monitor_commits_fenced_total": f"0+10x{MINUTES}"}, frozenset()),
    "MonitorRebalances": ({"monitor_consumer_rebalances_total": GROWS}, frozenset()),
    "MonitorClientsReplaced": ({"monitor_consumer_rebuilds_total": GROWS}, frozenset()),
    "MonitorInternalErrors": ({'monitor_http_requests_total{method="GET",status="500"}': APPEARS}, frozenset()),
    "MonitorExecutionsCrash": ({'monitor_verdicts_total{kind="crashed"}': f"0+2x{MINUTES}"}, frozenset()),
    "MonitorStreamsLate": ({r'monitor_stream_lag_seconds_bucket{le="\+Inf".*': f"0+60x{MINUTES}"}, frozenset()),
    "MonitorStreamsShed": ({"monitor_stream_shed_total": GROWS}, frozenset()),
    "MonitorStreamGaps": ({"monitor_stream_gaps_total": GROWS}, frozenset()),
    "MonitorSocketsStuck": ({"monitor_stream_stuck_total": GROWS}, frozenset()),
    "MonitorWebhooksLate": ({"monitor_webhook_backlog_age_seconds": f"901{FOR_EVER}"}, frozenset()),
    "MonitorWebhooksGivenUp": ({'monitor_webhook_deliveries_total{outcome="given_up"}': APPEARS}, frozenset()),
    "MonitorWebhookEndpointFails": ({"monitor_webhook_open_breakers": f"1{FOR_EVER}"}, frozenset()),
    "MonitorWebhookLeasesLost": ({"monitor_webhook_leases_lost_total": GROWS}, frozenset()),
}


@pytest.fixture(scope="module")
def judge() -> Program:
    """Prometheus' own program."""
    try:
        return promtool()
    except Unavailable as error:
        pytest.skip(f"no promtool: {error}")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that nothing is wrong with."""
    running = Service(tmp_path / "data")
    running.launch()
    try:
        yield running
    finally:
        running.close()


async def scraped(service: Service, instance: str = "here") -> dict[str, str]:
    """Every series of a process as Prometheus would keep it, with the value that it goes on having."""
    async with service.client() as client:
        text = (await client.get("/metrics")).text
    series = {kept("up", instance): f"1{FOR_EVER}"}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            series[kept(name, instance)] = f"{value}{FOR_EVER}"
    return series


def kept(series: str, instance: str = "here") -> str:
    """With the labels that Prometheus adds."""
    name, _, labels = series.partition("{")
    of_its_own = labels.removesuffix("}")
    return f'{name}{{{of_its_own}{"," if of_its_own else ""}job="monitor",instance="{instance}:8080"}}'


def changed(healthy: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """The same series, but for those that a pattern names."""
    series = dict(healthy)
    for pattern, values in changes.items():
        named = [name for name in healthy if re.fullmatch(pattern, name) or name.startswith(f"{pattern}{{")]
        series |= dict.fromkeys(named or [kept(pattern)], values)
    return series


def expressions() -> list[str]:
    """What the dashboard asks, with its variables filled in."""
    targets = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    filled = {"$__rate_interval": "1m", "$job": "monitor", "$instance": ".*"}
    found = []
    for target in targets:
        text = str(target["expr"])
        for variable, value in filled.items():
            text = text.replace(variable, value)
        found.append(text)
    return found


def catalogued(name: str) -> Metric | None:
    """The row of the catalogue that a series belongs to."""
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return next((it for it in CATALOGUE if name in {it.name + suffix for suffix in suffixes[it.kind]}), None)


def asked(text: str) -> list[tuple[str, dict[str, str]]]:
    """The series that a text asks for, each with the labels that it wants."""
    found = re.findall(r"\b(monitor_\w+)(?:\{([^}]*)\})?", text)
    return [(name, dict(re.findall(r'(\w+)[!=~]+"([^"]*)"', labels))) for name, labels in found]


@pytest.mark.parametrize("source", ["alerts", "dashboard"])
def test_what_is_asked_for_exists(source: str) -> None:
    """Series, labels, and the words that labels are asked to have."""
    rules = re.sub(r"(?m)^ *(#|summary:|- alert:).*$", "", ALERTS.read_text())
    found = asked(rules) if source == "alerts" else asked("\n".join(expressions()))
    assert len(found) > 20
    for name, labels in found:
        row = catalogued(name)
        assert row, f"{name} is not in the catalogue"
        assert labels.keys() <= {*row.labels, *ADDED}, name
        words = [word for label, word in labels.items() if label not in ADDED and not word.isdigit()]
        assert [word for word in words if word not in row.meaning] == [], name


def test_dashboard_shows_every_metric_that_an_alarm_goes_by() -> None:
    """Whoever is woken sees why; and its variables ask for what exists."""
    shown = {name.removesuffix("_bucket") for name, _ in asked("\n".join(expressions()))}
    rules = re.sub(r"(?m)^ *(#|summary:|- alert:).*$", "", ALERTS.read_text())
    unshown = {name.removesuffix("_bucket") for name, _ in asked(rules)} - shown
    assert unshown == set()
    queries = [variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable]
    assert [name for query in queries for name, _ in asked(query) if not catalogued(name)] == []


def test_panels_have_a_place_and_a_word_of_their_own() -> None:
    """None lies over another, all ids differ, and each says what it shows."""
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at: Mapping[str, int] = panel["gridPos"]
        for spot in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert spot not in taken, f"{panel['title']} lies over {taken[spot]}"
            taken[spot] = panel["title"]
        assert at["x"] + at["w"] <= 24
        assert panel["type"] == "row" or panel["description"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_prometheus_can_read_all_of_it(judge: Program, tmp_path: Path) -> None:
    """Rules, its settings, and each expression of the dashboard."""
    assert complaints(judge, "rules", ALERTS) == ""
    assert complaints(judge, "config", ALERTS.with_name("prometheus.yaml")) == ""
    assert unreadable(judge, expressions(), tmp_path) == ""
    assert "parse error" in unreadable(judge, ["sum by ("], tmp_path), "it would be noticed"


async def test_each_alarm_goes_off_when_it_should_and_none_while_all_is_well(
    judge: Program, service: Service, tmp_path: Path
) -> None:
    """Over what a real process says of itself, changed in one point each."""
    assert list(CASES) == ALARMS
    await service.ready()
    healthy = await scraped(service)
    cases: dict[str, tuple[Mapping[str, str], frozenset[str]]] = {"all is well": (healthy, frozenset())}
    for alarm, (changes, others) in CASES.items():
        cases[alarm] = (changed(healthy, changes), others | {alarm})
    assert wrong_alarms(judge, ALERTS, cases, tmp_path) == ""
    # Beside a gateway, which folds nothing and has committed nothing.
    gateway = changed(healthy, {"monitor_partitions_assigned": f"0{FOR_EVER}", "monitor_commit_age_seconds": GROWS})
    beside = {series.replace('instance="here', 'instance="gate'): values for series, values in gateway.items()}
    of_roles = {"roles are well": ({**healthy, **beside}, frozenset[str]())}
    for alarm in ("MonitorStandsStill", "MonitorPartitionsOfNobody"):
        of_roles[alarm] = ({**changed(healthy, CASES[alarm][0]), **beside}, frozenset({alarm}))
    assert wrong_alarms(judge, ALERTS, of_roles, tmp_path) == ""
    missing = {"nobody runs": ({"other": f"1{FOR_EVER}"}, frozenset({"MonitorDown"}))}
    assert wrong_alarms(judge, ALERTS, missing, tmp_path) == ""
    assert wrong_alarms(judge, ALERTS, {"wrong": (healthy, {"MonitorDown"})}, tmp_path) != "", "it would be noticed"


async def test_halt_is_told_by_alarms_and_doctor(judge: Program, kafka: Kafka, tmp_path: Path) -> None:
    """What a service that stands still over a broken writer says is enough to find the page that helps."""
    topic = await kafka.create_topic()
    journal = f"kafka://{kafka.bootstrap}/{topic}"
    service = Service(tmp_path / "data", journal=journal, poison_in_a_row="5")
    service.launch()
    try:
        await service.ready()
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            for _ in range(20):
                await producer.send_and_wait(topic, b"no event")

        async def stands_still() -> bool:
            return (await scraped(service))[kept("monitor_partitions_halted")].startswith("1")

        await eventually(stands_still)
        said = await scraped(service)
        alarms = {"MonitorPartitionHalted", "MonitorNotReady", "MonitorQuarantineUndecided"}
        assert wrong_alarms(judge, ALERTS, {"halted": (said, alarms)}, tmp_path) == ""
        answer = monitor("doctor", "--json", "--url", service.url)
        told: list[dict[str, Any]] = answer.document["findings"]
        [halt] = [it for it in told if it["text"].startswith("halted:")]
        assert (answer.code, "monitor quarantine resume" in halt["cure"]) == (2, True)
    finally:
        service.close()


async def test_cluster_is_well_until_nobody_folds(
    judge: Program, kafka: Kafka, postgres_url: str, tmp_path: Path
) -> None:
    """By what each role says of itself, and by the doctor beside them."""
    topic = await kafka.create_topic(partitions=2)
    roles = {"projector": 1, "gateway": 1, "deliverer": 1}
    async with deployed(tmp_path, kafka, topic, postgres_url, roles) as deployment:
        processes = {role: services[0] for role, services in deployment.services.items()}
        event = {"type": "execution.started", "executionId": "e", "timestamp": "2026-11-22T10:30:00Z"}
        async with deployment.gateways[0].client() as client:
            assert (await client.post("/v1/events", json=event)).status_code == 200
        await deployment.projector.caught_up()

        async def said_by_all() -> dict[str, str]:
            running = {role: service for role, service in processes.items() if service.is_running}
            return {name: values for role, it in running.items() for name, values in (await scraped(it, role)).items()}

        async def is_well() -> bool:
            said = await said_by_all()
            return not wrong_alarms(judge, ALERTS, {"all is well": (said, frozenset())}, tmp_path)

        await eventually(is_well)
        shared = {
            "journal": f"kafka://{kafka.bootstrap}/{topic}",
            "kafka_group": topic,
            "store": postgres_url,
            "key": KEY,
        }
        answer = monitor("doctor", "--json", data=tmp_path / "elsewhere", **shared)
        told = {it["subject"]: it["state"] for it in answer.document["findings"]}
        assert (answer.code, told["group"], told["keepers"], told["partition 1"]) == (1, "ok", "ok", "ok"), answer.out
        deployment.projector.kill()
        said = await said_by_all() | {kept("up", "projector"): f"0{FOR_EVER}"}
        alarms = {"MonitorDown", "MonitorPartitionsOfNobody"}
        assert wrong_alarms(judge, ALERTS, {"nobody folds": (said, alarms)}, tmp_path) == ""


def test_every_alarm_has_its_page() -> None:
    """Its address leads there, and no page is about nothing."""
    addresses = re.findall(r"runbook_url: (\S+)$", ALERTS.read_text(), re.MULTILINE)
    assert addresses == [f".github/RUNBOOK.md#{alarm.lower()}" for alarm in ALARMS]
    assert [name for name in SECTIONS if name.startswith("Monitor")] == ALARMS


def test_every_reason_of_readyz_has_its_page_and_its_cure() -> None:
    """Also those that were added yesterday."""
    said = {JournalUnavailable.code.lower(), StoreUnavailable.code.lower()}
    for tree in read_modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Concern":
                said |= {it.value for it in node.args[:1] if isinstance(it, ast.Constant) and isinstance(it.value, str)}
    assert said == set(REASONS)
    assert [name for name in SECTIONS if not name.startswith("Monitor")] == list(REASONS)


def test_links_lead_somewhere() -> None:
    """Inside the runbook and to the files beside it."""
    anchors = {heading.lower().replace(" ", "-").replace("/", "") for heading in re.findall(r"(?m)^#+ (.+)$", RUNBOOK)}
    for target in re.findall(r"\]\(([^)]+)\)", RUNBOOK):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (TOP / ".github" / target).exists(), target


def commands() -> set[str]:
    """Every command line of ours that the runbook names."""
    spans = re.findall(r"`(monitor [a-z][^`]*)`", RUNBOOK)
    blocks = re.findall(r"^```bash \w+\n(.*?)^```$", RUNBOOK, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("monitor ")]
    return {*spans, *lines}


@pytest.mark.parametrize("command", sorted(commands()))
def test_named_commands_exist_with_their_options(command: str) -> None:
    """Spelt as the command line takes them."""
    words = shlex.split(command)[1:]
    names = [word for word in words if re.fullmatch(r"[a-z0-9-]+", word) and not word.startswith("--")][:2]
    options = [word for word in words if word.startswith("--")]
    shown = monitor(*names, "--help")
    if shown.code != 0:
        shown = monitor(names[0], "--help")
    assert (shown.code, [option for option in options if option not in shown.out]) == (0, [])


async def test_commands_work_as_written(service: Service) -> None:
    """Against a service that runs; only the port is another."""
    await service.ready()
    blocks = re.findall(r"^```bash run\n(.*?)^```$", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    for line in "".join(blocks).splitlines():
        words = shlex.split(line.replace(ADDRESS, service.url))
        if words[0] == "monitor":
            answer = monitor(*words[1:])
            assert (answer.code, answer.err) == (0, ""), line
        else:
            assert words[:2] == ["curl", "-s"]
            async with service.client() as client:
                assert (await client.get(words[2])).status_code == 200
    beside = monitor("doctor", "--json", data=service.data)
    assert beside.code < 2, beside.out
