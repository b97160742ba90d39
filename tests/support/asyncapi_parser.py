"""The official parser of AsyncAPI, in the version of the lock file beside its program.

Installed once into the cache, never into the work tree. Run as a module, this does it before any test counts its time.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.support.debian import Unavailable
from tests.support.node_clients import installed
from tests.support.processes import dying_with_us

PROGRAMS: Final = Path(__file__).parent / "asyncapi"
_LIMIT_S: Final = 120

_ERROR, _WARNING = 0, 1


class Complaint(NamedTuple):
    """What the parser holds against a document."""

    severity: int
    code: str
    # Where, by dots.
    path: str
    message: str


def complaints(documents: Sequence[Any]) -> list[list[Complaint]]:
    """Errors and warnings of each; hints are left out. Raises Unavailable."""
    said = subprocess.run(
        dying_with_us(["node", str(PROGRAMS / "judge.mjs"), str(installed(PROGRAMS))]),
        input="".join(f"{json.dumps(document)}\n" for document in documents),
        capture_output=True,
        check=True,
        text=True,
        timeout=_LIMIT_S,
    )
    told = [[Complaint(**each) for each in json.loads(line)] for line in said.stdout.splitlines()]
    return [[each for each in of_one if each.severity in (_ERROR, _WARNING)] for of_one in told]


if __name__ == "__main__":
    try:
        installed(PROGRAMS)
    except Unavailable as error:
        sys.exit(f"No parser of AsyncAPI: {error}")
