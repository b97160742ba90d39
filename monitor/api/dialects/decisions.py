"""Where a document contradicts itself, and what is done here: one table, which the README shows too.

Each document hides at least two such places. Where both of its ways can be served, both are.
"""

from typing import Final, NamedTuple


class Decision(NamedTuple):
    """One place where a document says two things."""

    dialect: str
    document: str
    decided: str


DECISIONS: Final = (
    Decision(
        "so1",
        "`result` is what the workflow made where it was waited for, `{success, outputs}` where it is asked for by id.",
        # The document's own retry loop looks at `result.success`, its sync example at `result.x`.
        "Both, each in its place.",
    ),
    Decision(
        "so1",
        "A failed execution has no `workflowId`; all others have one.",
        "All have it.",
    ),
    Decision(
        "so1",
        "Codes are in small letters, that of too many requests is `RATE_LIMIT_EXCEEDED` and stands in no envelope.",
        # Clients compare the code; one envelope lets them read every refusal alike.
        "So it is spelt, in the same envelope as the others.",
    ),
    Decision(
        "n8n",
        "The filter leaves out `new` and `crashed`, which are shown, and stopMany says `queued` for `new`.",
        # Else nobody could ask for what the list shows.
        "All are taken. `unknown`, which the real API takes, finds nothing: there is no such status here.",
    ),
    Decision(
        "n8n",
        "Executions are `exec_123`, those of the pull request `1`.",
        "`executionId` of a new one is a number where its engine's own id is made of digits; other ids are texts.",
    ),
    Decision(
        "team",
        "One execution takes 2350 ms in the list and 2300 ms in the details.",
        # The list's times begin with the queue: 50 ms before the start.
        "`startedAt` and `durationMs` count from the queue on in lists and exports, in the details from the start.",
    ),
    Decision(
        "team",
        "The status filter leaves out `PENDING`, which is shown.",
        "It is taken.",
    ),
    Decision(
        "team",
        "The end is `finishedAt` in lists and `completedAt` elsewhere, the trigger `triggerType` and `trigger`.",
        "Each in its place.",
    ),
)
