"""The files of schemas/, generated from monitor/: `python -m tests.support.schemas` writes them.

`GENERATED` is the whole list: a file is a name and what makes its content, so a new one is a new row.
"""

import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from monitor.app import described_of, open_parts, spoken
from monitor.events.schema import event_schema
from monitor.events.types import DERIVED, TYPES
from monitor.settings import Settings, keys
from monitor.web.async_contract import asyncapi
from monitor.web.catalogues import errors, metrics
from monitor.web.contract import openapi

FOLDER: Final = Path(__file__).parents[2] / "schemas"


def settings() -> dict[str, Any]:
    """Every setting under the name of its variable."""
    schema = Settings.model_json_schema(by_alias=False)
    return {key: schema["properties"][name] for name, key in keys().items()}


def openapi_document() -> dict[str, Any]:
    """What `/openapi.json` answers."""

    async def made() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            async with open_parts(Settings(data=Path(folder) / "data")) as parts:
                return openapi(described_of(parts))

    return asyncio.run(made())


def _event(name: str) -> Callable[[], Any]:
    return lambda: event_schema(TYPES[name])


GENERATED: Final[dict[str, Callable[[], Any]]] = {
    "asyncapi.json": lambda: asyncapi(spoken()),
    "errors.json": errors,
    "metrics.json": metrics,
    "openapi.json": openapi_document,
    "settings.json": settings,
    # What only the monitor concludes is never taken from outside, so it has no schema of its own.
    **{f"events/{name}.json": _event(name) for name in TYPES if name not in DERIVED},
}


def rendered(name: str) -> str:
    """The content of a file."""
    return json.dumps(GENERATED[name](), indent=2, ensure_ascii=False) + "\n"


def write() -> None:
    """Write every file anew and remove those that are no longer made."""
    for stale in files() - set(GENERATED):
        (FOLDER / stale).unlink()
    for name in GENERATED:
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered(name))


def files() -> set[str]:
    """What is there now, relative to schemas/."""
    return {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.json")}


if __name__ == "__main__":
    write()
