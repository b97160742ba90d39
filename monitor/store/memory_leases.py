"""Leases in memory: says in plain Python what `leases` does in SQL. `memory` mixes it in."""

from monitor.store.lease_port import Lease


class MemoryLeases:
    """Implements LeaseReader and LeaseWriter over `_leases`."""

    _leases: dict[str, Lease]

    def lease(self, name: str) -> Lease | None:
        return self._leases.get(name)

    def take_lease(self, name: str, holder: str, *, now_us: int, until_us: int) -> bool:
        held = self._leases.get(name)
        if held and held.holder != holder and held.until_us > now_us:
            return False
        self._leases[name] = Lease(holder, until_us)
        return True

    def give_back_lease(self, name: str, holder: str) -> None:
        if name in self._leases and self._leases[name].holder == holder:
            del self._leases[name]

    def forget_leases(self, before_us: int) -> int:
        ended = [name for name, lease in self._leases.items() if lease.until_us < before_us]
        for name in ended:
            del self._leases[name]
        return len(ended)
