"""The store port's part for exports that are jobs: what was asked for, and how far the file is. Ledger, never
rebuilt.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

ExportFormat = Literal["csv", "json", "ndjson"]
ExportSort = Literal["startedAt", "-startedAt"]
ExportState = Literal["queued", "running", "completed", "failed", "cancelled"]

OPEN: Final[tuple[ExportState, ...]] = ("queued", "running")
"""States of a job that has not ended."""


class ExportAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is to hold."""

    format: ExportFormat
    # Of a CSV, in their order; None = all.
    columns: Sequence[str] | None = None
    # As `filter.to_json` writes it.
    filter: dict[str, Any]
    sort: ExportSort
    with_data: bool = False


class ExportJob(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is being written, or was. `rows`, `bytes` and `after` change together: what is behind them is not
    there yet.
    """

    # The store's integer key; 0 until it is stored.
    key: int = 0
    id: str
    team: str
    # Who asked for it.
    actor: str
    asked: ExportAsked
    state: ExportState = "queued"
    created_us: int
    started_us: int | None = None
    finished_us: int | None = None
    # When it is forgotten with its file; None until it has ended.
    expires_us: int | None = None
    # None until its list was counted.
    total: int | None = None
    total_is_lower_bound: bool = False
    rows: int = 0
    bytes: int = 0
    # Behind which row of the list it goes on; None = at its beginning.
    after: tuple[int | None, int] | None = None
    # Where it is written, which changes with who writes it; "" = under its id.
    file: str = ""
    # How long it was worked on.
    worked_us: int = 0
    # Why it failed.
    code: str | None = None
    message: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in OPEN

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return self.file or self.id

    @property
    def held_bytes(self) -> int:
        """Of the disk, now."""
        return self.bytes if self.is_open or self.state == "completed" else 0


class ExportReader(Protocol):
    """Questions about export jobs."""

    def export_job(self, team: str, job_id: str) -> ExportJob | None:
        """One of a team."""
        ...

    def export_jobs(self, team: str) -> Sequence[ExportJob]:
        """All of a team, the newest first."""
        ...

    def open_export_jobs(self) -> Sequence[ExportJob]:
        """Those, of every team, that have not ended; the oldest first."""
        ...

    def kept_exports(self) -> Sequence[ExportJob]:
        """Those, of every team, whose files are on the disk or will be."""
        ...


class ExportWriter(ExportReader, Protocol):
    """What is stored of export jobs."""

    def add_export_job(self, job: ExportJob) -> ExportJob:
        """Store it, and return it with its key."""
        ...

    def put_export_job(self, job: ExportJob) -> bool:
        """Replace the stored one of its key; False, and nothing happens, where that is gone or has ended."""
        ...

    def drop_export_job(self, job: ExportJob) -> None:
        """Forget it."""
        ...

    def drop_expired_exports(self, now_us: int) -> Sequence[ExportJob]:
        """Forget those whose time has come; returns them."""
        ...
