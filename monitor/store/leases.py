"""Leases in SQL that both databases share. `queries` and the writers mix them in."""

from sqlalchemy import Connection, delete, insert, or_, select, update

from monitor.store.lease_port import Lease
from monitor.store.lease_tables import leases


class LeaseReads:
    """Implements LeaseReader over `_connection`."""

    _connection: Connection

    def lease(self, name: str) -> Lease | None:
        wanted = select(leases.c.holder, leases.c.until_us).where(leases.c.name == name)
        found = self._connection.execute(wanted).one_or_none()
        return None if found is None else Lease(*found)


class LeaseWrites(LeaseReads):
    """Implements LeaseWriter."""

    def take_lease(self, name: str, holder: str, *, now_us: int, until_us: int) -> bool:
        if self.lease(name) is None:
            self._connection.execute(insert(leases).values(name=name, holder=holder, until_us=until_us))
            return True
        is_free = or_(leases.c.holder == holder, leases.c.until_us <= now_us)
        taken = update(leases).where(leases.c.name == name, is_free).values(holder=holder, until_us=until_us)
        return self._connection.execute(taken).rowcount == 1

    def give_back_lease(self, name: str, holder: str) -> None:
        self._connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))

    def forget_leases(self, before_us: int) -> int:
        return self._connection.execute(delete(leases).where(leases.c.until_us < before_us)).rowcount
