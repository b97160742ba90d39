"""The images that compose/ starts, at hand in the engine of the tests: `python -m tests.support.images` builds them.

What they stand on is made by compose/images/build, once as long as its recipes stay the same.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.debian import Unavailable
from tests.support.docker_engine import Engine, answering_engine, own_engine
from tests.support.kafka import prepare as prepare_kafka
from tests.support.kafka_jars import KafkaUnavailable

TOP: Final = Path(__file__).parents[2]
RECIPES: Final = TOP / "compose/images"
MONITOR: Final = "execution-monitor:tests"
BUILT_WITHIN_S: Final = 900


@contextmanager
def engine_with_images() -> Iterator[tuple[Engine, Mapping[str, str]]]:
    """An engine and the settings that name its images: our own one, else the one that answers on this machine.

    Raises Unavailable with both reasons.
    """
    try:
        if os.environ.get("MONITOR_TEST_DOCKER") == "answering":
            raise Unavailable("MONITOR_TEST_DOCKER=answering")
        images = build()
    except Unavailable as ours:
        try:
            with answering_engine() as engine:
                # It has what the compose files name, or may pull it.
                _build_monitor(engine, os.environ)
                yield engine, {"MONITOR_IMAGE": MONITOR}
        except Unavailable as theirs:
            raise Unavailable(f"{ours}; {theirs}") from None
        return
    with own_engine() as engine:
        yield engine, images


def build() -> Mapping[str, str]:
    """Have everything built in our own engine; returns the settings that name the images. Raises Unavailable."""
    with own_engine(for_building=True) as engine:
        images = _base_images(engine)
        _build_monitor(engine, images)
        engine.docker("image", "prune", "--force")
    return {**images, "MONITOR_IMAGE": MONITOR}


def _base_images(engine: Engine) -> Mapping[str, str]:
    """Made by the recipes, unless images of the very same recipes are there; those of others are removed."""
    recipes = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(RECIPES.iterdir()))).hexdigest()[:12]
    prefix, noted = f"tests-{recipes}", f"tests-{recipes}/made:yes"
    have = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    if noted not in have:
        try:
            jars = prepare_kafka()
        except KafkaUnavailable as error:
            raise Unavailable(str(error)) from error
        environment = {"PREFIX": prefix, "KAFKA_VERSION": jars.version, "KAFKA_JARS": str(jars.libraries)}
        print("Building the images of compose/ (once) ...", file=sys.stderr)
        lines = engine.run([str(RECIPES / "build")], BUILT_WITHIN_S, **environment)
        # Only now: a build that was cut off is made again.
        engine.docker("tag", f"{prefix}/debian:bookworm", noted)
        have += [line.partition("=")[2] for line in lines.splitlines()]
        if old := [name for name in have if name.startswith("tests-") and not name.startswith(prefix)]:
            engine.docker("rmi", *old)
    names = {name.removeprefix(f"{prefix}/").partition(":")[0]: name for name in have if name.startswith(prefix)}
    return {f"{name.upper()}_IMAGE": names[name] for name in ("python", "kafka", "postgres", "nginx")}


def _build_monitor(engine: Engine, images: Mapping[str, str]) -> None:
    base = ["--build-arg", f"PYTHON_IMAGE={images['PYTHON_IMAGE']}"] if "PYTHON_IMAGE" in images else []
    command = ["build", "--quiet", "--network", "host", *base, "--file", str(TOP / "compose/Dockerfile")]
    # Its first stage has a name of its own, or it would be removed with what nobody names, and made anew each time.
    for tag, stage in ((f"{MONITOR}-build", ["--target", "build"]), (MONITOR, [])):
        engine.docker(*command, *stage, "--tag", tag, str(TOP), within_s=BUILT_WITHIN_S)


if __name__ == "__main__":
    try:
        build()
    except Unavailable as error:
        sys.exit(f"No containers: {error}")
