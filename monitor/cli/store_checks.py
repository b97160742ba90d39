"""What `monitor doctor` tells of a store, whoever works on it: what stands still, waits or is owed, and the key."""

from collections.abc import Iterator
from typing import Final

from monitor.access.sealing import Sealer, load_key
from monitor.cli.findings import Finding
from monitor.errors import DataFolderUnusable
from monitor.keepers import LEASE as KEEPERS
from monitor.projections.bursts import in_words
from monitor.settings import Settings
from monitor.store.base import Reader
from monitor.store.postgres_look import Connections
from monitor.store.quarantine_port import QuarantineQuery

_OLD_DELIVERY_S: Final = 15 * 60
"""By then a receiver that was away for a moment has been tried six times."""


def store_findings(reader: Reader, now_us: int) -> list[Finding]:
    """Everything that one snapshot tells."""
    return [_quarantine(reader), *_halts(reader), _webhooks(reader, now_us)]


def keepers_finding(reader: Reader, now_us: int) -> Finding:
    """Who keeps house for a cluster: retention, verdicts, exports; `now_us` by the store's clock."""
    lease = reader.lease(KEEPERS)
    if lease is None or lease.until_us <= now_us:
        text = "nobody keeps house: no verdicts, no retention, no exports"
        return Finding("warn", "keepers", text, "start a gateway")
    return Finding("ok", "keepers", f"{lease.holder} keeps house")


def connections_finding(it: Connections) -> Finding:
    """Whether the database has room for another process."""
    text = f"{it.used} of {it.most} are taken, whoever has them"
    if it.most - it.used < it.each:
        cure = f"raise max_connections, or run fewer processes: each takes up to {it.each}"
        return Finding("warn", "connections", f"{text}: no room for another process", cure)
    return Finding("ok", "connections", text)


def check_key(settings: Settings, proof: bytes | None) -> Finding:
    """Whether the key that a service would take opens the store's secrets; `proof` is what the store keeps of its own.

    Makes no key where there is none.
    """
    path, given = settings.data / "key", settings.key_bytes
    source = "MONITOR_KEY" if given else str(path)
    if given is None and not path.exists():
        if proof is None:
            return Finding("ok", "key", "none yet; the first start makes it")
        cure = "put it back from a backup, or set MONITOR_KEY to the key that sealed the store's secrets"
        return Finding("fail", "key", f"{path} is missing, and the store's secrets are sealed with it", cure)
    try:
        sealer = Sealer(given or load_key(path))
    except DataFolderUnusable as error:
        return Finding("fail", "key", error.message, "put it back from a backup")
    if proof is not None and proof != sealer.proof():
        cure = "bring back the key that sealed them: webhooks and positions depend on it"
        return Finding("fail", "key", f"{source} does not open the secrets of the store", cure)
    return Finding("ok", "key", f"{source} fits the store" if proof else f"{source} can be used")


def _quarantine(reader: Reader) -> Finding:
    latest = reader.quarantine(1, QuarantineQuery(is_decided=False))
    if not latest:
        return Finding("ok", "quarantine", "nothing that nobody has decided about")
    [row] = latest
    return Finding(
        "warn",
        "quarantine",
        f"{reader.undecided()} record(s) undecided, the latest at partition {row.partition}, offset {row.offset}: "
        f"{row.message}",
        "correct whoever sends them; `monitor quarantine ls` shows them",
    )


def _halts(reader: Reader) -> Iterator[Finding]:
    """Partitions that stand still."""
    for partition, row in sorted(reader.halts().items()):
        if row.stands:
            cure = "`monitor quarantine ls` shows why, `monitor quarantine resume` lets it go on"
            yield Finding("fail", "halt", in_words(partition, row.halt), cure)


def _webhooks(reader: Reader, now_us: int) -> Finding:
    backlog = reader.backlog(None)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(backlog.counts.items()) if count)
    if not counts:
        return Finding("ok", "webhooks", "nothing is owed")
    if backlog.oldest_us is None:
        return Finding("ok", "webhooks", f"deliveries: {counts}")
    age_s = max(0, now_us - backlog.oldest_us) // 1_000_000
    text = f"deliveries: {counts}; the oldest pending one is {in_units(age_s)} old"
    if age_s > _OLD_DELIVERY_S:
        cure = "GET /v1/webhooks tells which endpoint fails; if none does, see that a deliverer runs"
        return Finding("warn", "webhooks", text, cure)
    return Finding("ok", "webhooks", text)


def in_units(seconds: float) -> str:
    """A time as people say it: 42 s, 17 min, 5 h, 3 days."""
    for unit, length_s in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
