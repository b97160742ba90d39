"""Turns: which jobs are worked on next, so that nobody's jobs keep those of others waiting. Pure.

A job is worked on for a turn, a part of its executions, and then stands in line again. The next turn is of the team
with the fewest jobs at work, then of the one whose last turn began longest ago, and so among its jobs.
"""

from collections.abc import Sequence

from monitor.store.order_port import BulkJob


class Turns:
    """Who is at work, and when the last turn of each team and of each job began."""

    def __init__(self, at_once: int) -> None:
        """At most `at_once` jobs are at work."""
        self._at_once = at_once
        self._working: dict[int, BulkJob] = {}
        # Turns are numbered.
        self._teams: dict[str, int] = {}
        self._jobs: dict[int, int] = {}
        self._begun = 0

    def begin(self, running: Sequence[BulkJob]) -> list[BulkJob]:
        """Those of the `running` jobs, the oldest first, whose turn begins now."""
        self._forget(running)
        waiting = [job for job in running if job.key not in self._working]
        begun = []
        while waiting and len(self._working) < self._at_once:
            job = min(waiting, key=self._ease)
            waiting.remove(job)
            begun.append(job)
            self._begun += 1
            self._working[job.key] = job
            self._teams[job.team] = self._jobs[job.key] = self._begun
        return begun

    def _ease(self, job: BulkJob) -> tuple[int, int, int]:
        """Smallest for the job that is next."""
        at_work = sum(it.team == job.team for it in self._working.values())
        return at_work, self._teams.get(job.team, 0), self._jobs.get(job.key, 0)

    def _forget(self, running: Sequence[BulkJob]) -> None:
        teams, keys = {job.team for job in running}, {job.key for job in running}
        self._teams = {team: turn for team, turn in self._teams.items() if team in teams}
        self._jobs = {key: turn for key, turn in self._jobs.items() if key in keys}

    def end(self, job: BulkJob) -> None:
        """The turn of `job` is over."""
        del self._working[job.key]
