"""The dialect of n8n: `/api/v1/*`, `X-N8N-API-KEY`, `{message}` errors; the document's spelling and that of 2.41.

Where the two differ both are served by the same handlers: `stopMany` with a nested filter and `stop` with a flat one,
`POST delete` with ids and `DELETE` of one, `PATCH` with an annotation and `PUT` of tags.
"""

from monitor.api.dialects.n8n.routes import operations
from monitor.api.dialects.n8n.words import FACE

__all__ = ["FACE", "operations"]
