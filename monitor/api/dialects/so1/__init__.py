"""The dialect of SO1's wrapper over n8n: `/v1/n8n/*`, Bearer `so1_key_...`, `{success, data}` around every answer.

Durations are seconds. An execution's end has the name of its outcome: `finishedAt`, `failedAt` or `canceledAt`.
"""

from monitor.api.dialects.so1.routes import operations
from monitor.api.dialects.so1.words import FACE

__all__ = ["FACE", "operations"]
