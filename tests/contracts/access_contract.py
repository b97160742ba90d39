"""What every store does with tokens and audit. Drivers' tests inherit it."""

from functools import partial
from typing import Any

from msgspec.structs import replace

from monitor.access.audit import AuditEntry, AuditQuery
from monitor.store import Store
from monitor.store.access import EndedSession, Ticket
from monitor.store.base import Writer
from tests.support.tokens import make_token


def entry(n: int, **changes: Any) -> AuditEntry:
    """An entry that looks like no other."""
    blank = AuditEntry(
        at_us=n,
        team="acme",
        principal="ada",
        token_id="tok_1",
        address="192.0.2.1",
        action="webhook.remove",
        object=f"wh_{n}",
        detail={"owed": n},
    )
    return replace(blank, **changes)


class AccessContract:
    """Inherited by the tests of each driver, which bring the fixture `store`."""

    async def test_token_comes_back_as_it_was_stored(self, store: Store) -> None:
        """Every member, with its key, under its id alone, beside the version that it was read at."""
        token = make_token("a", scopes=("executions:read",), networks=("10.0.0.0/8",), rate=7, expires_us=9)
        added = await store.write(lambda writer: writer.add_token(token))
        assert added == replace(token, key=1)
        assert await store.read(lambda reader: reader.find_token(token.id)) == (added, 1)
        assert await store.read(lambda reader: reader.find_token("tok_other")) == (None, 1)

    async def test_tokens_of_a_team_are_listed_in_the_order_of_their_making(self, store: Store) -> None:
        """Behind a key, up to a limit; other teams' are neither shown nor counted."""
        made = [make_token(name, team=team) for name, team in (("a", "acme"), ("b", "zeta"), ("c", "acme"))]
        stored = [await store.write(lambda writer, it=it: writer.add_token(it)) for it in made]  # type: ignore[misc]
        assert await store.read(lambda reader: reader.tokens("acme")) == [stored[0], stored[2]]
        assert await store.read(lambda reader: reader.tokens("acme", limit=1)) == [stored[0]]
        assert await store.read(lambda reader: reader.tokens("acme", after_key=stored[0].key)) == [stored[2]]
        assert await store.read(lambda reader: reader.token_count("acme")) == 2
        assert await store.read(lambda reader: reader.token_count("none")) == 0

    async def test_version_tells_what_was_made_or_revoked_since(self, store: Store) -> None:
        """Starting at 0 while there never was a token; use changes nothing of it."""
        assert await store.read(lambda reader: reader.tokens_version()) == 0
        first = await store.write(lambda writer: writer.add_token(make_token("a")))
        second = await store.write(lambda writer: writer.add_token(make_token("b")))
        assert await store.read(lambda reader: reader.tokens_version()) == 2
        assert await store.read(lambda reader: reader.tokens_changed(1)) == [second]
        revoked = replace(first, revoked_us=5)
        await store.write(lambda writer: writer.update_token(revoked))
        await store.write(lambda writer: writer.note_used({second.id: 1}))
        assert await store.read(lambda reader: reader.tokens_version()) == 3
        assert await store.read(lambda reader: reader.tokens_changed(2)) == [revoked]
        assert await store.read(lambda reader: reader.tokens_changed(3)) == []

    async def test_last_use_only_moves_on(self, store: Store) -> None:
        """Whichever process tells it last; tokens that are gone are passed over."""
        token = await store.write(lambda writer: writer.add_token(make_token("a")))
        for at_us, kept_us in ((70, 70), (60, 70), (80, 80)):
            await store.write(lambda writer, at_us=at_us: writer.note_used({token.id: at_us, "tok_none": 1}))  # type: ignore[misc]
            assert (await store.read(lambda reader: reader.find_token(token.id))).token == replace(
                token, last_used_us=kept_us
            )

    async def test_ticket_is_taken_once(self, store: Store) -> None:
        """And not at all once it was forgotten."""
        tickets = [Ticket(bytes([number]) * 32, f"tok_{number}", 1000 + number) for number in range(3)]
        for ticket in tickets:
            await store.write(partial(_add, ticket))
        assert await store.write(lambda writer: writer.take_ticket(tickets[2].digest)) == tickets[2]
        await store.write(lambda writer: writer.forget_tickets(1001))
        taken = [await store.write(partial(_take, ticket.digest)) for ticket in tickets]
        assert taken == [None, tickets[1], None]

    async def test_session_that_was_left_is_known_until_it_is_forgotten(self, store: Store) -> None:
        """Beside tickets, which it is none of; to leave it raises the version, once."""
        left = [EndedSession(f"{number:032x}", f"tok_{number}", 1000 + number) for number in range(2)]
        for session in (*left, left[0]):
            await store.write(partial(_end, session))
        assert await store.read(lambda reader: reader.tokens_version()) == 2
        assert sorted(await store.read(lambda reader: reader.ended_sessions())) == left
        await store.write(partial(_add, Ticket(b"t" * 32, "tok_0", 2000)))
        await store.write(lambda writer: writer.forget_tickets(1001))
        assert list(await store.read(lambda reader: reader.ended_sessions())) == left[1:]
        assert (await store.write(partial(_take, b"t" * 32))) is not None

    async def test_audit_is_read_from_its_end_by_team_and_tests(self, store: Store) -> None:
        """Newest first, behind a key, up to a limit; every test narrows, and other teams' lines are never shown."""
        told = (
            entry(1),
            entry(2, team="zeta"),
            entry(3, action="webhook.pause", object="wh_1"),
            entry(4, principal="bob", token_id=None, address=None, outcome="refused", detail={}),
        )
        for one in told:
            await store.write(lambda writer, one=one: writer.note(one))  # type: ignore[misc]
        a, _, b, c = (replace(one, key=place) for place, one in enumerate(told, 1))

        async def found(limit: int = 10, **tests: Any) -> list[AuditEntry]:
            query = AuditQuery("acme")._replace(**tests)
            return list(await store.read(lambda reader: reader.audit(query, limit)))

        assert await found() == [c, b, a]
        assert await found(2) == [c, b]
        assert await found(before_key=c.key) == [b, a]
        assert await found(action="webhook.pause") == [b]
        assert await found(principal="bob") == [c]
        assert await found(object="wh_1") == [b, a]
        assert await found(object="wh_1", action="webhook.remove") == [a]

    async def test_what_is_undone_leaves_no_line(self, store: Store) -> None:
        """The audit is part of the transaction that it tells of."""

        async def fail() -> None:
            def work(writer) -> None:  # type: ignore[no-untyped-def]
                writer.note(entry(1))
                writer.add_token(make_token("a"))
                raise ZeroDivisionError

            await store.write(work)

        try:
            await fail()
        except ZeroDivisionError:
            assert await store.read(lambda reader: reader.audit(AuditQuery("acme"), 9)) == []
            assert await store.read(lambda reader: reader.tokens_version()) == 0
        else:
            raise AssertionError


def _add(ticket: Ticket, writer: Writer) -> None:
    writer.add_ticket(ticket)


def _end(session: EndedSession, writer: Writer) -> None:
    writer.end_session(session)


def _take(digest: bytes, writer: Writer) -> Ticket | None:
    return writer.take_ticket(digest)
