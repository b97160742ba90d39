"""The only wiring: `open_parts` makes every part from the settings and closes it again, `create_app` joins the routes.

Nobody else constructs anything; tests use the same two doors.
"""

from monitor.app.parts import Parts
from monitor.app.routes import FACES, create_app, described_of, open_addresses_of, operations_of, spoken
from monitor.app.wiring import open_parts, open_tokens

__all__ = [
    "FACES",
    "Parts",
    "create_app",
    "described_of",
    "open_addresses_of",
    "open_parts",
    "open_tokens",
    "operations_of",
    "spoken",
]
