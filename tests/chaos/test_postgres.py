"""PostgreSQL is killed, frozen, cut off and silent: nothing that was acknowledged depends on it, and all goes on."""

import psycopg
import pytest

from tests.chaos.conftest import Shaken
from tests.chaos.house import House, lasting

# A minute of silence, and what it takes to make up for it.
pytestmark = pytest.mark.timeout(1800)


async def test_postgres_killed(spread: Shaken, long_form: bool) -> None:
    """SIGKILL to the server and all who serve its connections; it comes back a moment later."""
    async with spread() as house:
        for _ in range(20 if long_form else 2):
            house.postgres.kill()
            await lasting(0.5)
            house.postgres.start()
            await house.load.more(200)


async def test_postgres_frozen(spread: Shaken, long_form: bool) -> None:
    """SIGSTOP to all of it: connections stay open, and nothing answers for a while."""
    async with spread() as house:
        house.postgres.pause()
        await lasting(60.0 if long_form else 5.0)
        house.postgres.resume()
        await house.load.more(200)


async def test_connections_cut(spread: Shaken, long_form: bool) -> None:
    """Every connection to the database ends, in the middle of whatever it did, again and again."""
    async with spread() as house:
        for _ in range(100 if long_form else 5):
            cut(house)
            await house.load.more(50)


async def test_notifications_lost(spread: Shaken) -> None:
    """Nobody hears of a commit any more; whoever waits for one looks for himself."""
    async with spread() as house:
        # It is found before the real one by every connection that is made from now on.
        in_database(
            house,
            "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS ''",
            f'ALTER DATABASE "{house.database}" SET search_path = public, pg_catalog',
        )
        cut(house)
        with psycopg.connect(house.postgres.address(house.database), autocommit=True) as listening:
            listening.execute("LISTEN monitor")
            await house.load.more(500)
            assert list(listening.notifies(timeout=0)) == []


def cut(house: House) -> None:
    """End all connections to the database of the house."""
    house.postgres.do(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{house.database}'"  # noqa: S608 - ours
    )


def in_database(house: House, *statements: str) -> None:
    """Run statements in the database of the house."""
    with psycopg.connect(house.postgres.address(house.database), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
