#!/usr/bin/env python3
"""Fetches the Apache Kafka broker of the tests into build/kafka: jars of Maven Central, checked by hash.

Usage:
    .ci/kafka.py               what .ci/kafka.lock names; what is there already stays
    .ci/kafka.py lock VERSION  writes .ci/kafka.lock anew for that version of Kafka; needs mvn

MAVEN_CENTRAL names another copy of the repository.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / ".ci" / "kafka.lock"
JARS = ROOT / "build" / "kafka"
REPOSITORY = os.environ.get("MAVEN_CENTRAL", "https://repo1.maven.org/maven2").rstrip("/")
ATTEMPTS = 4
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>none</groupId><artifactId>none</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


def fetch() -> None:
    """Make build/kafka hold what the lock names, and nothing else."""
    wanted = [tuple(line.split()) for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    JARS.mkdir(parents=True, exist_ok=True)
    names = {Path(path).name for _, path in wanted}
    for stray in {file for file in JARS.iterdir() if file.name not in names}:
        stray.unlink()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda entry: fetch_one(*entry), wanted))


def fetch_one(sha256: str, path: str) -> None:
    """Make sure of one jar; a file gets its name only once its hash is right."""
    file = JARS / Path(path).name
    if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256:
        return
    data = read(path)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path} is not what it was: its SHA-256 is {found}")
    part = file.with_suffix(".part")
    part.write_bytes(data)
    part.replace(file)


def read(path: str) -> bytes:
    """What the repository has at *path*."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(f"{REPOSITORY}/{path}", timeout=60) as answer:
                return bytes(answer.read())
        except (OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS:
                raise SystemExit(f"{path} cannot be fetched: {error}") from error
            time.sleep(2**attempt)
    raise AssertionError


def lock(version: str) -> None:
    """Write the lock from what Maven finds that this version of Kafka needs."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pom.xml").write_text(POM.format(version))
        found = Path(folder) / "classpath"
        subprocess.run(
            ["mvn", "-q", "-B", f"-Dmaven.repo.local={folder}/jars", "dependency:build-classpath",
             "-DincludeScope=runtime", f"-Dmdep.outputFile={found}"],
            cwd=folder, check=True,
        )  # fmt: skip
        jars = sorted(Path(jar) for jar in found.read_text().strip().split(":"))
        lines = [
            f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.relative_to(Path(folder) / 'jars')}\n"
            for jar in jars
        ]
    head = f"# SHA-256 and path in Maven Central. Written by: .ci/kafka.py lock {version}\n"
    LOCK.write_text(head + "".join(lines))


def main(arguments: list[str]) -> None:
    """Do what is asked."""
    if len(arguments) == 2 and arguments[0] == "lock":
        lock(arguments[1])
    elif arguments:
        raise SystemExit(__doc__)
    fetch()
    broker = next(JARS.glob("kafka_2.13-*.jar"))
    print(f"Apache Kafka {broker.stem.removeprefix('kafka_2.13-')} is in {JARS.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
