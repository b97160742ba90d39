"""What cannot be done with executions as they stand."""

from monitor.errors.tree import ClientError, NotFound


class ExecutionNotFound(NotFound):
    """There is no such execution."""

    code = "EXECUTION_NOT_FOUND"


class WorkflowNotFound(NotFound):
    """There is no such workflow."""

    code = "WORKFLOW_NOT_FOUND"


class CommandNotFound(NotFound):
    """There is no such command."""

    code = "COMMAND_NOT_FOUND"


class CannotCancelExecution(ClientError):
    """Cannot cancel execution that is already completed."""

    code = "CANNOT_CANCEL_EXECUTION"
    status = 409


class CannotRetryExecution(ClientError):
    """Cannot retry execution that has not ended."""

    code = "CANNOT_RETRY_EXECUTION"
    status = 409


class CannotDeleteExecution(ClientError):
    """Cannot delete execution that has not ended; cancel it first, or force it."""

    code = "CANNOT_DELETE_EXECUTION"
    status = 409


class NoEngine(ClientError):
    """No engine takes commands for this execution."""

    code = "NO_ENGINE"
    status = 409


class CommandRefused(ClientError):
    """The engine refused the command."""

    code = "COMMAND_REFUSED"
    status = 409


class BulkJobNotFound(NotFound):
    """There is no such job."""

    code = "BULK_JOB_NOT_FOUND"


class InvalidBulk(ClientError):
    """The executions cannot be changed together like this."""

    code = "INVALID_BULK"
    status = 422


class ExportNotFound(NotFound):
    """There is no such export."""

    code = "EXPORT_NOT_FOUND"


class ExportNotReady(ClientError):
    """The export has no file to fetch."""

    code = "EXPORT_NOT_READY"
    status = 409


class ExportGone(ClientError):
    """The file of the export is not there any more; ask for a new export."""

    code = "EXPORT_GONE"
    status = 410


class CannotCancelExport(ClientError):
    """The export has ended: nothing is left to call off."""

    code = "CANNOT_CANCEL_EXPORT"
    status = 409


class TooManyExports(ClientError):
    """Your team has as many exports as it may have; delete one, or wait until one expires."""

    code = "TOO_MANY_EXPORTS"
    status = 409


class HistoryGone(ClientError):
    """The journal does not hold the beginning of this history any more."""

    code = "HISTORY_GONE"
    status = 410
