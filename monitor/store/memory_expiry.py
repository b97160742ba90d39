"""How executions are found and forgotten in memory: says in plain Python what the drivers do in SQL."""

from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from monitor.events.model import Place
from monitor.projections.execution import Execution
from monitor.projections.fold import ExecutionId
from monitor.projections.view import summary
from monitor.store.expiry import Erasure, Sweep
from monitor.store.releases import StoredRelease, blanked_release


class MemoryExpiry:
    """Implements ExpiryReader and ExpiryWriter over what the session holds."""

    _held: MutableMapping[ExecutionId, Execution]
    _held_places: Mapping[int, Sequence[Place]]
    _held_releases: MutableMapping[tuple[int, int, int], Sequence[StoredRelease]]
    _erasures: MutableMapping[int, tuple[int, int]]
    # What is kept of executions by their keys.
    _of_key: Sequence[MutableMapping[int, Any]]

    def lists(self) -> Mapping[tuple[str, str, str], int]:
        return Counter((it.team, it.workflow_id, it.status) for it in self._shown())

    def ended_before(
        self, of: tuple[str, str, str], before_us: int, without_tag: str, page: Sweep
    ) -> tuple[Sequence[str], Sweep | None]:
        ids: list[str] = []
        listed = [it for it in self._shown() if (it.team, it.workflow_id, it.status) == of]
        spots = sorted(((summary(it).at_us, it.key), it) for it in listed)
        ahead = [(spot, it) for spot, it in spots if spot > page.after and spot[0] < before_us]
        for looked_at, (spot, it) in enumerate(ahead, 1):
            ended_us = it.updated_us if it.ended_us is None else it.ended_us
            if ended_us < before_us and without_tag not in it.tags:
                ids.append(it.id)
            if len(ids) == page.most or looked_at == page.looked_at:
                return ids, page._replace(after=spot)
        return ids, None

    def forget_tombstones(
        self, starts: Mapping[int, int], ended_before_us: int, after_key: int, limit: int
    ) -> tuple[int, int]:
        gone = {id_: it for id_, it in self._held.items() if it.registers.deleted and it.key > after_key}
        deleted = sorted((it.key, id_) for id_, it in gone.items() if (it.ended_us or 0) < ended_before_us)
        looked = deleted[:limit]
        old = [
            (key, id_)
            for key, id_ in looked
            if all(at.offset < starts[at.partition] for at in self._held_places.get(key, ()))
        ]
        for key, id_ in old:
            del self._held[id_]
            for kept in self._of_key:
                kept.pop(key, None)
        return len(old), looked[-1][0] if len(looked) == limit else 0

    def erasures(self, limit: int) -> Sequence[Erasure]:
        of = {it.key: it for it in self._held.values()}
        found = sorted(self._erasures.items())[:limit]
        firsts = {key: self._held_places[key][0] for key, _ in found}
        return [
            Erasure(key, of[key].team, of[key].id, firsts[key].partition, max(first, firsts[key].offset), last)
            for key, (first, last) in found
        ]

    def blank_releases(self, partition: int, offsets: Sequence[int]) -> None:
        for place, batch in self._held_releases.items():
            if place[0] == partition:
                blanked = [blanked_release(it) if it.offset in offsets else it for it in batch]
                self._held_releases[place] = blanked

    def erased(self, erasures: Sequence[Erasure]) -> None:
        for done in erasures:
            first, last = self._erasures.pop(done.key)
            if last > done.last:
                self._erasures[done.key] = (max(first, done.last + 1), last)

    def _shown(self) -> list[Execution]:
        return [it for it in self._held.values() if not it.registers.deleted]
