"""Apache Kafka's jars, made ready to start: downloaded by Maven, a data folder formatted, classes archived.

All of it is made once per Kafka version in a cache folder (`MONITOR_KAFKA_CACHE`). Called by the launcher in
`tests.support.kafka`, which holds a file lock, so that two test runs at once share the work.
"""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.cache import cache_folder, replacing
from tests.support.kafka_settings import BROKER_PROPERTIES, JVM_OPTIONS, POM

DEFAULT_VERSION = "4.3.1"
OLDEST_JAVA = 17  # Kafka 4 brokers ask for it
DOWNLOAD_LIMIT_S = 300


class KafkaUnavailable(Exception):
    """No real Kafka can be had this way; the message says why and what would help."""


def new_id() -> str:
    """A fresh id in Kafka's spelling: 22 characters of URL-safe base64."""
    # The format tool would take a leading '-' for an option.
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")


def properties_text(properties: Mapping[str, object]) -> str:
    """The content of a Java properties file."""
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def java_version() -> int | None:
    """The feature release of the `java` on the path (17, 21, ...), or None when there is none that runs."""
    try:
        answer = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class KafkaJars:
    """The cache folder of one Kafka version; `prepare` in `tests.support.kafka` fills it."""

    version: str
    folder: Path

    @property
    def libraries(self) -> Path:
        return self.folder / "lib"

    @property
    def template(self) -> Path:
        """A formatted data folder, to be copied by every new node."""
        return self.folder / "template"

    @property
    def archive(self) -> Path:
        """The class archive, named after the Java and the options it holds for: others would ignore it."""
        java = Path(shutil.which("java") or "java").resolve()
        state = java.stat()
        written_for = f"{java} {state.st_size} {int(state.st_mtime)} {JVM_OPTIONS}"
        return self.folder / f"classes-{hashlib.sha256(written_for.encode()).hexdigest()[:12]}.jsa"

    def java_command(self, main_class: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """The command that runs a class of Kafka."""
        # Sorted and explicit: a wildcard expands in the folder's order, which would invalidate the archive.
        classpath = ":".join(sorted(str(jar) for jar in self.libraries.glob("*.jar")))
        return ["java", *JVM_OPTIONS, *options, "-cp", classpath, main_class, *arguments]

    def make(self) -> None:
        """Download the jars and format the template, where not yet done; raises `KafkaUnavailable`."""
        if not self.libraries.exists():
            self._download()
        if not self.template.exists():
            self._format()

    def _download(self) -> None:
        if shutil.which("mvn") is None:
            raise KafkaUnavailable(f"Maven is needed to fill {self.folder} (Debian: maven)")
        with replacing(self.libraries) as fresh:
            pom = fresh.with_suffix(".xml")
            pom.write_text(POM.format(version=self.version))
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
            maven = ["mvn", "-B", "-ntp", "-q", "-f", str(pom), *goal]
            try:
                subprocess.run(maven, check=True, timeout=DOWNLOAD_LIMIT_S, capture_output=True, text=True)
            except subprocess.CalledProcessError as error:
                said = error.stdout.strip().partition("\n")[0]
                raise KafkaUnavailable(f"Maven did not deliver Kafka {self.version}: {said}") from error
            except subprocess.TimeoutExpired as error:
                raise KafkaUnavailable(f"Maven needed over {DOWNLOAD_LIMIT_S} s") from error
            finally:
                pom.unlink()

    def _format(self) -> None:
        with replacing(self.template) as fresh:
            file = fresh.with_suffix(".properties")
            placeholders = {
                "node.id": 1,
                "controller.quorum.voters": "1@127.0.0.1:9093",
                "listeners": "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
                "log.dirs": fresh,
            }
            file.write_text(properties_text({**BROKER_PROPERTIES, **placeholders}))
            tool = self.java_command("kafka.tools.StorageTool", "format", "-t", new_id(), "-c", str(file))
            try:
                subprocess.run(tool, check=True, timeout=60, capture_output=True)
            finally:
                file.unlink()


def kafka_jars() -> KafkaJars:
    """The cache of the wanted version (`MONITOR_KAFKA_VERSION`), filled or not."""
    version = os.environ.get("MONITOR_KAFKA_VERSION") or DEFAULT_VERSION
    asked_for = os.environ.get("MONITOR_KAFKA_CACHE")
    root = Path(asked_for).expanduser() if asked_for else cache_folder("kafka")
    return KafkaJars(version, root / version)
