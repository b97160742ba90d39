"""Tokens: one form, of which nothing can be read back, and rights that nobody can raise."""

import pytest

from monitor.access.principal import Principal
from monitor.access.roles import ROLES, Role, Scope
from monitor.access.tokens import Shown, excess, granted, is_secret_of, read_token, token_id, token_text
from tests.support.tokens import SECRET, make_token

TEXT = token_text(token_id(b"12345678"), SECRET)


def test_token_is_read_as_it_was_written() -> None:
    """Its id and its secret; neither shows the secret when printed."""
    shown = read_token(TEXT)
    assert shown == Shown(token_id(b"12345678"), SECRET, "mon")
    assert SECRET.hex() not in repr(shown)


@pytest.mark.parametrize(
    "text",
    ["", "mon_", TEXT[:-1], TEXT + "0", TEXT.upper(), f" {TEXT}", f"{TEXT}\n", TEXT.replace("mon", "man"), "mon_é_ü"],
)
def test_anything_else_is_no_token(text: str) -> None:
    """Not one character more, less or other."""
    assert read_token(text) is None


def test_row_does_not_hold_the_secret() -> None:
    """It recognises it, and no other."""
    token = make_token("a")
    assert is_secret_of(token, SECRET)
    assert not is_secret_of(token, SECRET[:-1] + b"t")
    assert SECRET not in token.digest


@pytest.mark.parametrize("maker_role", ROLES)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("narrow", [None, frozenset[Scope]({"admin", "executions:read"})])
@pytest.mark.parametrize("asked", [None, frozenset[Scope]({"executions:read", "admin"}), frozenset[Scope]({"admin"})])
def test_nobody_makes_a_token_with_more_rights_than_his_own(
    maker_role: Role, role: Role, narrow: frozenset[Scope] | None, asked: frozenset[Scope] | None
) -> None:
    """Whatever is asked for: what is not refused may do nothing that its maker may not, nor that its role may not."""
    maker = Principal("acme", "maker", maker_role, narrow)
    if excess(maker, role, asked):
        return
    scopes = granted(maker, role, asked)
    made = Principal("acme", "made", role, None if scopes is None else frozenset(scopes))
    for scope in ROLES["admin"]:
        assert not made.may(scope) or (maker.may(scope) and scope in ROLES[role])
        assert made.may(scope) or not (maker.may(scope) and scope in ROLES[role] and (asked is None or scope in asked))


def test_refusal_names_what_is_too_much() -> None:
    """The role, and each scope."""
    maker = Principal("acme", "maker", "operator", frozenset[Scope]({"executions:read"}))
    asked = frozenset[Scope]({"executions:read", "executions:data", "webhooks:read"})
    assert excess(maker, "builder", asked) == ["role:builder", "executions:data", "webhooks:read"]
    assert excess(maker, "viewer", None) == []
