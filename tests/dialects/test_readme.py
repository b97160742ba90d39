"""The README tells of dialects what the service has: its words, and where documents contradict themselves."""

from pathlib import Path

from monitor.api.dialects import n8n, so1, team
from monitor.api.dialects.decisions import DECISIONS
from monitor.projections.status import STATUSES

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_readme_shows_every_decision() -> None:
    """And there are at least two of each document."""
    rows = [f"| {it.dialect} | {it.document} | {it.decided} |" for it in DECISIONS]
    assert [row for row in rows if row not in README] == []
    for face in (so1.FACE, n8n.FACE, team.FACE):
        assert sum(it.dialect == face.name for it in DECISIONS) >= 2


def test_readme_shows_every_word() -> None:
    """One line for each status."""
    vocabularies = (so1.words.STATUS, n8n.words.STATUS, team.words.STATUS)
    rows = [" | ".join(f"`{word}`" for word in (it, *(known[it] for known in vocabularies))) for it in STATUSES]
    assert [row for row in rows if f"| {row} |" not in README] == []
