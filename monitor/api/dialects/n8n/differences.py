"""Where answers differ from those of the real API (2.41.1), and why: all of it, as tests hold it against captures.

`-x` is a member that the real API has and this one has not, `+x` one that only this one has, `~x` one of another type,
`?x` one that is null in one of them, `=x` one of another value; `node` is a node in `runData`, `run` a run of it,
`item` an item that it made, `tag` a tag. `404 -> 200` are the two statuses of a request, `said 404` two texts. The
README shows the same table.
"""

from typing import Final, NamedTuple


class Difference(NamedTuple):
    """Some differences of one reason."""

    what: tuple[str, ...]
    why: str


DIFFERENCES: Final = (
    Difference(
        ("+count", "+estimated", "+concurrentExecutionsCount", "+workflowName", "+annotation"),
        "The document has them; the real API has them in its editor alone.",
    ),
    Difference(
        ("405 -> 200 POST /api/v1/executions/stopMany", "405 -> 200 PATCH /api/v1/executions/{id}"),
        "The document's spelling, served beside the real one.",
    ),
    Difference(
        ("405 -> 200 POST /api/v1/workflows/{id}/execute",),
        "What the real API was asked for in a pull request, and has not.",
    ),
    Difference(
        ("+createdAt", "+deletedAt", "+workflowVersionId"),
        "An execution has one shape, in lists and as the answer to a command too.",
    ),
    Difference(
        ("+id", "+workflowId", "+retryOf", "+retrySuccessId", "+stoppedAt", "+waitTill"),
        "A stop and a retry answer with the whole execution, as in the document.",
    ),
    Difference(
        ("-data", "=status"),
        "A retry answers once it has started, as in the document, and not when it has ended, with its data. "
        "A process that was killed tells no end: what it ran is `running` until the monitor presumes that it crashed.",
    ),
    Difference(
        ("?stoppedAt",),
        "Null until the end, as in the document; the real API also tells when an execution began to wait.",
    ),
    Difference(
        ("~id",),
        "The real API answers a DELETE with a number; an id is a text here, wherever it stands.",
    ),
    Difference(
        ("400 -> 404 GET /api/v1/executions/{id}", "400 -> 404 GET /api/v1/executions/statistics"),
        "Any text may be an id: the document's are `exec_123`.",
    ),
    Difference(
        ("said 404",),
        "`Execution not found`, as in the document.",
    ),
    Difference(
        ("said 400", "said 401", "said 415"),
        "Ours name the cure.",
    ),
    Difference(
        ("401 -> 200 GET /api/v1/executions",),
        "A token is taken as `Authorization: Bearer` too, as everywhere here.",
    ),
    Difference(
        ("404 -> 200 POST /api/v1/executions/stop",),
        "Workflows are known by their executions alone: none of an unknown one are stopped.",
    ),
    Difference(
        ("404 -> 200 PUT /api/v1/executions/{id}/tags", "-tag.createdAt", "-tag.updatedAt"),
        "A tag is its text, and is there once an execution has it.",
    ),
    Difference(
        ("-storedAt", "-jsonSizeBytes", "-binaryDataSizeBytes", "-deduplicationKey", "-usedPrivateCredentials"),
        "How n8n keeps an execution: no event tells it.",
    ),
    Difference(
        ("-workflowData", "-customData", "-tracingContext", "-run.metadata", "-item.pairedItem"),
        "What the workflow is and how its items hang together: no event tells it.",
    ),
    Difference(
        (
            "-data.executionData.runtimeData",
            "-data.executionData.contextData.node:Loop",
            "-data.resumeToken",
            "-data.waitTill",
            "-data.redactionInfo",
        ),
        "What an engine goes on from, and its permissions; `executionData` is there, and empty.",
    ),
    Difference(
        ("+node", "+data.resultData.lastNodeExecuted", "+run.hints"),
        "n8n forgets the runs of an execution that was stopped or crashed, and shows those of a running one late.",
    ),
    Difference(
        ("-node",),
        "A retry is not told which runs it took over from the execution before.",
    ),
    Difference(
        (
            "-data.resultData.error",
            "-data.resultData.redactedError",
            "-run.error",
            "=run.executionStatus",
            "?run.executionTime",
        ),
        "An error and a time are shown where they were told; n8n makes some up for what was stopped, waits or crashed.",
    ),
    Difference(
        ("?workflowVersionId", "?retryOf"),
        "n8n's event log leaves them out; an engine that tells them is shown with them.",
    ),
)
