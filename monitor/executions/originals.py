"""What an execution was given, as its engine told it: for the engine that runs it again, and for nobody else.

What is stored is masked; a workflow that ran with `***` for its password would be another one.
"""

from monitor.access.masking import shows_masks
from monitor.access.principal import Principal
from monitor.errors import CannotRetryExecution, HistoryGone, TooLarge
from monitor.executions.contents import Contents
from monitor.executions.history import History

_INPUT = "input"


class Originals:
    """Finds them in the journal, which alone holds them."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def input(self, who: Principal, execution_id: str, stored: bytes | None) -> bytes | None:
        """The input as JSON, of which `stored` is the masked form; itself where nothing in it looks masked.

        Raises CannotRetryExecution where the journal does not hold it any more, and Unavailable.
        """
        if stored is None or not shows_masks(stored):
            return stored
        try:
            return (await self._history.revealed(who, execution_id, None, _input_of)).value
        except (HistoryGone, TooLarge) as error:
            message = "The input of the execution is masked, and its original is not at hand; execute its workflow anew"
            raise CannotRetryExecution(message, executionId=execution_id, reason=error.message) from None


def _input_of(contents: Contents) -> bytes | None:
    return contents.payloads(0, [_INPUT]).get(_INPUT)
