"""Turns of jobs: every team has its own, whoever asked first and however much."""

from monitor.executions.turns import Turns
from monitor.store.order_port import BulkJob


def job(key: int, team: str) -> BulkJob:
    """One of a team."""
    return BulkJob(key=key, id=f"bulk_{key}", team=team, actor="ada", kind="stop", force=False, count=1, created_us=key)


def test_teams_share_what_is_free() -> None:
    """A team alone has all of it; beside others, each has the same, its oldest jobs first."""
    mine, theirs = [job(key, "acme") for key in range(1, 9)], [job(key, "zeta") for key in range(9, 11)]
    assert Turns(4).begin(mine) == mine[:4]
    assert Turns(4).begin([*mine, *theirs]) == [mine[0], theirs[0], mine[1], theirs[1]]


def test_whoever_waited_has_the_next_turn() -> None:
    """What is free goes to the team that has none at work, and no job is begun twice."""
    mine, theirs = [job(key, "acme") for key in range(1, 9)], [job(9, "zeta")]
    turns = Turns(2)
    assert turns.begin(mine) == mine[:2]
    assert turns.begin([*mine, *theirs]) == []
    turns.end(mine[0])
    assert turns.begin([*mine, *theirs]) == theirs


def test_teams_take_turns_one_at_a_time() -> None:
    """Also where there are more teams than turns: each comes before any comes again."""
    jobs = [job(key, team) for key, team in enumerate("aaabbbccc", 1)]
    turns, order = Turns(1), list[str]()
    for _ in range(9):
        [begun] = turns.begin(jobs)
        order.append(begun.team)
        turns.end(begun)
    assert [sorted(order[at : at + 3]) for at in (0, 3, 6)] == [["a", "b", "c"]] * 3


def test_jobs_of_a_team_take_turns_too() -> None:
    """A long one does not keep those behind it waiting to its end."""
    jobs, turns = [job(key, "acme") for key in range(1, 4)], Turns(1)
    order = []
    for _ in range(6):
        [begun] = turns.begin(jobs)
        order.append(begun.key)
        turns.end(begun)
    assert order == [1, 2, 3, 1, 2, 3]
