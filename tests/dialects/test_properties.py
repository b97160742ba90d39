"""Whatever happens to an execution, each dialect shows all of it that it has a place for, in words that lead back."""

import asyncio
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from monitor.api.dialects import n8n, so1, team
from monitor.projections.status import STATUSES
from monitor.store.base import Store
from monitor.store.memory import MemoryStore
from monitor.store.sqlite import open_sqlite_store
from monitor.web.vocabulary import Vocabulary
from tests.support.commanding import commanding
from tests.support.contract.checked import faults_of
from tests.support.folded import HISTORIES, Kept, duels, folded
from tests.support.histories import WireEvent
from tests.support.lives import lives
from tests.support.readings import DIALECTS, WORDS, statuses_of

EXECUTIONS: Final = lives() | HISTORIES
VOCABULARIES: Final = {"so1": so1.words.STATUS, "n8n": n8n.words.STATUS, "team": team.words.STATUS}
LISTS: Final[Mapping[str, tuple[str, Callable[[Any], list[Any]], str]]] = {
    "so1": ("/v1/n8n/executions?limit=100", lambda page: page["data"]["executions"], "executionId"),
    "n8n": ("/api/v1/executions?limit=250", lambda page: page["data"], "id"),
    "team": ("/api/executions/team/acme?size=200", lambda page: page["content"], "id"),
}
"""By dialect: the address of its list, where its rows stand, and their id."""


def mistakes(dialect: str, kept: Kept) -> list[str]:
    """What a dialect shows that its schema does not tell, or that reads as something else than it is."""
    shown, read, meant = DIALECTS[dialect]
    try:
        documents = shown(kept)
        found = [fault for name, it in documents.items() if name[0].isupper() for fault in faults_of(name, it)]
        said, real = read(documents), meant(kept)
    except (KeyError, AssertionError) as error:
        return [repr(error)]
    shown_as = [part.pop("statuses") for part in (said, *said["nodes"])]
    for status, known in zip(statuses_of(kept, dialect), shown_as, strict=True):
        found += [] if status in known else [f"{status} is shown as {known}"]
    return found + [f"{name}: {said[name]} instead of {it}" for name, it in real.items() if said[name] != it]


@pytest.mark.parametrize("dialect", DIALECTS)
@given(wire=EXECUTIONS)
@settings(max_examples=300, deadline=None)
def test_every_execution_is_shown_by_its_schema_and_reads_back(dialect: str, wire: list[WireEvent]) -> None:
    """Words, times, durations, data, errors and nodes: nothing is lost that the dialect has a member for."""
    assert mistakes(dialect, folded(wire, ())) == []


@pytest.mark.parametrize("dialect", WORDS)
def test_vocabulary_is_the_documents_and_total_in_both_directions(dialect: str) -> None:
    """Every status has the word of the table, and every word stands for exactly those statuses that have it."""
    vocabulary, table = VOCABULARIES[dialect], WORDS[dialect]
    assert {status: vocabulary[status] for status in STATUSES} == {
        status: word for word, statuses in table.items() for status in statuses if status in STATUSES
    }
    assert {word: vocabulary.statuses(word) for word in vocabulary.known} == {
        word: tuple(status for status in STATUSES if status in table[word]) for word in table
    }


def test_vocabulary_that_leaves_a_status_out_is_refused() -> None:
    """And one that has a word for what is no status."""
    words = dict(so1.words.STATUS.words)
    for wrong in ({name: words[name] for name in words if name != "timeout"}, {**words, "paused": "waiting"}):
        with pytest.raises(ValueError, match="a word for each of queued, running"):
            Vocabulary(wrong)


# --- filters ---------------------------------------------------------------------------------------------------------


async def answers(store: Store, histories: list[list[WireEvent]]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Of each list, narrowed by each word and not at all (""): id and word of every row."""
    async with commanding(store=store) as house, house.client() as client:
        for ordinal, wire in enumerate(histories):
            await house.tell(
                *({**event, "executionId": f"exec_{ordinal}", "id": f"{ordinal}-{at}"} for at, event in enumerate(wire))
            )
        return {
            (dialect, word): await listed(client, dialect, word) for dialect in LISTS for word in ("", *WORDS[dialect])
        }


async def listed(client: httpx.AsyncClient, dialect: str, word: str) -> list[tuple[str, str]]:
    """Id and word of every row of a list."""
    address, rows_of, id_ = LISTS[dialect]
    answer = await client.get(address, params={**httpx.URL(address).params, **({"status": word} if word else {})})
    assert answer.status_code == 200, answer.text
    return [(row[id_], row["status"]) for row in rows_of(answer.json())]


async def of_both(folder: Path, histories: list[list[WireEvent]]) -> list[Any]:
    """What lists answer over the store in memory and over SQLite."""
    sqlite = await open_sqlite_store(folder / "store.db")
    try:
        return [await answers(store, histories) for store in (MemoryStore(), sqlite)]
    finally:
        await sqlite.close()


@given(histories=st.lists(duels() | lives(), min_size=12, max_size=24))
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))
def test_a_word_finds_exactly_what_is_shown_as_it(
    tmp_path_factory: pytest.TempPathFactory, histories: list[list[WireEvent]]
) -> None:
    """In every list, over either store, for every word."""
    memory, sqlite = asyncio.run(of_both(tmp_path_factory.mktemp("store"), histories))
    assert memory == sqlite
    for (dialect, word), rows in memory.items():
        assert rows == [row for row in memory[dialect, ""] if word in ("", row[1])], (dialect, word)


# --- mutants ---------------------------------------------------------------------------------------------------------


def exchanged(words: Vocabulary, one: str, other: str) -> Vocabulary:
    """Two statuses that have each other's word."""
    return Vocabulary({**words.words, one: words[other], other: words[one]})


MUTANTS: Final[dict[str, tuple[str, Any, str, Any]]] = {
    "two words changed places": ("so1", so1.writers, "STATUS", exchanged(so1.words.STATUS, "failed", "cancelled")),
    "words of nodes changed places": (
        "n8n",
        n8n.writers,
        "NODE_STATUS",
        {**n8n.words.NODE_STATUS, "skipped": "error", "failed": "canceled"},
    ),
    "time-outs are failures": (
        "team",
        team.writers,
        "STATUS",
        Vocabulary({**team.words.STATUS.words, "timeout": "FAILED"}),
    ),
    "a status of nodes is missing": (
        "team",
        team.writers,
        "NODE_STATUS",
        {status: word for status, word in team.words.NODE_STATUS.items() if status != "skipped"},
    ),
    "milliseconds for seconds": ("so1", so1.writers, "_seconds", lambda duration_us: duration_us / 1000),
    "seconds for milliseconds": (
        "team",
        team.writers,
        "_ms",
        lambda duration_us: None if duration_us is None else round(duration_us / 1_000_000),
    ),
    "ends under each other's name": (
        "so1",
        so1.writers,
        "END_NAMED",
        {**so1.words.END_NAMED, "error": "canceledAt", "canceled": "failedAt"},
    ),
    "an end without a name": ("so1", so1.writers, "END_NAMED", {"success": "finishedAt", "error": "failedAt"}),
    "lists count from the start": ("team", team.writers, "_since_us", lambda row: row.started_us or row.at_us),
    "triggers as they came": ("team", team.writers, "_trigger", lambda row: row.trigger_type or row.mode or None),
    "messages without the type": (
        "team",
        team.writers,
        "_message",
        lambda error: None if error is None else str(error.get("message") or ""),
    ),
    "what nodes made is wrapped twice": ("n8n", n8n.writers, "_item", lambda said: {"json": said}),
    "an end while it still goes on": ("n8n", n8n.writers, "is_final", lambda status: status == "success"),
}


def is_found_out(dialect: str) -> bool:
    """Whether some execution is shown wrong by a dialect as it is now."""
    chance, phases = random.Random(1), (Phase.generate,)
    try:
        find(
            EXECUTIONS,
            lambda wire: bool(mistakes(dialect, folded(wire, ()))),
            random=chance,
            settings=settings(max_examples=400, deadline=None, database=None, phases=phases),
        )
    except NoSuchExample:
        return False
    return True


@pytest.mark.parametrize(("dialect", "module", "name", "wrong"), MUTANTS.values(), ids=MUTANTS)
def test_the_properties_have_teeth(
    monkeypatch: pytest.MonkeyPatch, dialect: str, module: Any, name: str, wrong: Any
) -> None:
    """Plausible mistakes are found out."""
    monkeypatch.setattr(module, name, wrong)
    assert is_found_out(dialect)


def test_a_filter_that_knows_other_words_than_the_list_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose `error` leaves out what crashed."""
    narrow = Vocabulary({**so1.words.STATUS.words, "crashed": "canceled"})
    monkeypatch.setattr(so1.readers, "STATUS", narrow)
    histories: list[list[WireEvent]] = []
    for status in ("crashed", "failed"):
        ended = {"type": "execution.failed", "timestamp": "2026-11-22T10:30:00Z", "data": {"status": status}}
        histories.append([ended])
    rows = asyncio.run(answers(MemoryStore(), histories))
    assert len(rows["so1", "error"]) < len([row for row in rows["so1", ""] if row[1] == "error"])
