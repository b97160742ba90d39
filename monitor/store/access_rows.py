"""Tokens and audit in SQL that both databases share. Mixed into the Reader and Writer of the drivers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from monitor.access.audit import AuditEntry, AuditQuery
from monitor.access.tokens import Token
from monitor.store import access_tables, tables
from monitor.store.access import EndedSession, FoundToken, Ticket

_A: Final = access_tables.audit.c
_K: Final = access_tables.tickets.c
_T: Final = access_tables.tokens.c

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_token: Final = msgspec.msgpack.Decoder(Token).decode
_decode_entry: Final = msgspec.msgpack.Decoder(AuditEntry).decode

_ENDED: Final = "ended:"
"""Before the token's id in rows of sessions that were left: they stand among the tickets, and are forgotten as they."""

_TOKEN: Final = (_T.key, _T.body, _T.last_used_us)


class AccessReads:
    """The access part of the Reader port."""

    _connection: Connection

    def tokens_version(self) -> int:
        return int(self._connection.scalars(select(tables.meta.c.tokens_version)).one())

    def find_token(self, token_id: str) -> FoundToken:
        found = self._connection.execute(select(*_TOKEN).where(_T.id == token_id)).one_or_none()
        return FoundToken(None if found is None else _token(found), self.tokens_version())

    def tokens_changed(self, since_version: int) -> Sequence[Token]:
        wanted = select(*_TOKEN).where(_T.changed > since_version)
        return [_token(row) for row in self._connection.execute(wanted)]

    def ended_sessions(self) -> Sequence[EndedSession]:
        wanted = select(_K.digest, _K.token_id, _K.expires_us).where(_K.token_id.startswith(_ENDED))
        found = self._connection.execute(wanted)
        return [EndedSession(id_.hex(), of.removeprefix(_ENDED), expires_us) for id_, of, expires_us in found]

    def tokens(self, team: str, *, after_key: int = 0, limit: int | None = None) -> Sequence[Token]:
        wanted = select(*_TOKEN).where(_T.team == team, _T.key > after_key).order_by(_T.key).limit(limit)
        return [_token(row) for row in self._connection.execute(wanted)]

    def token_count(self, team: str) -> int:
        return self._connection.scalars(
            select(func.count()).select_from(access_tables.tokens).where(_T.team == team)
        ).one()

    def audit(self, query: AuditQuery, limit: int) -> Sequence[AuditEntry]:
        wanted = select(_A.key, _A.body).where(_A.team == query.team).order_by(_A.key.desc()).limit(limit)
        for column, said in ((_A.action, query.action), (_A.principal, query.principal), (_A.object, query.object)):
            if said is not None:
                wanted = wanted.where(column == said)
        if query.before_key is not None:
            wanted = wanted.where(_A.key < query.before_key)
        return [replace(_decode_entry(row.body), key=row.key) for row in self._connection.execute(wanted)]


class AccessWrites(AccessReads):
    """The access part of the Writer port."""

    def add_token(self, token: Token) -> Token:
        row = {"id": token.id, "team": token.team, "body": _encode(token), "changed": self._next_version()}
        key = self._connection.scalars(insert(access_tables.tokens).values(row).returning(_T.key)).one()
        return replace(token, key=key)

    def update_token(self, token: Token) -> None:
        changed = {"body": _encode(token), "changed": self._next_version()}
        self._connection.execute(update(access_tables.tokens).where(_T.key == token.key).values(changed))

    def note_used(self, used: Mapping[str, int]) -> None:
        for token_id, at_us in used.items():
            is_news = or_(_T.last_used_us.is_(None), _T.last_used_us < at_us)
            noted = update(access_tables.tokens).where(_T.id == token_id, is_news).values(last_used_us=at_us)
            self._connection.execute(noted)

    def add_ticket(self, ticket: Ticket) -> None:
        self._connection.execute(insert(access_tables.tickets).values(ticket._asdict()))

    def take_ticket(self, digest: bytes) -> Ticket | None:
        taken = (
            delete(access_tables.tickets).where(_K.digest == digest).returning(_K.digest, _K.token_id, _K.expires_us)
        )
        found = self._connection.execute(taken).one_or_none()
        return None if found is None else Ticket(*found)

    def end_session(self, session: EndedSession) -> None:
        digest = bytes.fromhex(session.id)
        if self._connection.scalars(select(_K.digest).where(_K.digest == digest)).first() is None:
            self.add_ticket(Ticket(digest, f"{_ENDED}{session.token_id}", session.expires_us))
            self._next_version()

    def forget_tickets(self, before_us: int) -> None:
        self._connection.execute(delete(access_tables.tickets).where(_K.expires_us < before_us))

    def note(self, entry: AuditEntry) -> None:
        row = {name: getattr(entry, name) for name in ("team", "action", "principal", "object")}
        self._connection.execute(insert(access_tables.audit).values(**row, body=_encode(entry)))

    def _next_version(self) -> int:
        version = tables.meta.c.tokens_version
        raised = update(tables.meta).values(tokens_version=version + 1).returning(version)
        return int(self._connection.scalars(raised).one())


def _token(row: Row[Any]) -> Token:
    return replace(_decode_token(row.body), key=row.key, last_used_us=row.last_used_us)
