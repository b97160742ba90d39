"""The dialect of NodeLoom: `/api/executions*`, Bearer `sdk_...`, pages by number, statuses in capitals, milliseconds.

A team is named in the path, and has to be the token's own. Exports are files of their own, masked as everything is.
"""

from monitor.api.dialects.team.routes import operations
from monitor.api.dialects.team.words import FACE

__all__ = ["FACE", "operations"]
