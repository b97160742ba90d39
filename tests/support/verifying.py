"""Three verifiers of Standard Webhooks that this project did not write: those of PyPI, npm and Go, in fixed versions.

Installed and built once into the cache, never into the work tree. Run as a module, this does it before any test counts
its time.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.support.cache import cache_folder, locked, replacing
from tests.support.debian import Unavailable, install
from tests.support.node_clients import installed
from tests.support.processes import dying_with_us

PROGRAMS: Final = Path(__file__).parent / "verifiers"
_GO: Final = ("go.mod", "go.sum", "verify.go")
_LIMIT_S: Final = 120


class Asked(NamedTuple):
    """A request as it arrived, and the secret that its receiver holds."""

    secret: str
    headers: Mapping[str, str]
    body: bytes


def by_python(asked: Sequence[Asked]) -> list[bool]:
    """What the package of PyPI says of each."""
    return [_accepts(one) for one in asked]


def _accepts(asked: Asked) -> bool:
    try:
        Webhook(asked.secret).verify(asked.body, dict(asked.headers))
    except WebhookVerificationError:
        return False
    return True


def by_node(asked: Sequence[Asked]) -> list[bool]:
    """What the package of npm says of each. Raises Unavailable."""
    return _told(["node", str(PROGRAMS / "verify.mjs"), str(installed(PROGRAMS))], asked)


def by_go(asked: Sequence[Asked]) -> list[bool]:
    """What the module of Go says of each. Raises Unavailable."""
    return _told([str(_built())], asked)


VERIFIERS: Final[dict[str, Callable[[Sequence[Asked]], list[bool]]]] = {
    "python": by_python,
    "node": by_node,
    "go": by_go,
}


def _told(command: list[str], asked: Sequence[Asked]) -> list[bool]:
    lines = [one._asdict() | {"body": base64.b64encode(one.body).decode()} for one in asked]
    said = subprocess.run(
        dying_with_us(command),
        input="".join(f"{json.dumps(line)}\n" for line in lines),
        capture_output=True,
        check=True,
        text=True,
        timeout=_LIMIT_S,
    )
    return [json.loads(line) for line in said.stdout.splitlines()]


def _built() -> Path:
    """The program in Go."""
    if not shutil.which("go"):
        install("golang-go")
    wanted = b"".join((PROGRAMS / name).read_bytes() for name in _GO)
    folder = cache_folder("go") / hashlib.sha256(wanted).hexdigest()[:12]
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            with replacing(folder) as fresh:
                _build(fresh / "verify")
    return folder / "verify"


def _build(target: Path) -> None:
    command = ["go", "build", "-o", str(target), "."]
    try:
        subprocess.run(command, cwd=PROGRAMS, check=True, timeout=_LIMIT_S, capture_output=True, text=True)
    except subprocess.SubprocessError as error:
        raise Unavailable(f"Go did not build the verifier: {getattr(error, 'stderr', None) or error}") from error


if __name__ == "__main__":
    try:
        _built()
        installed(PROGRAMS)
    except Unavailable as error:
        sys.exit(f"No verifiers of webhooks: {error}")
