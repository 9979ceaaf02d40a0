"""Does what deploy/Dockerfile says without a Docker daemon, and runs the result as a container would.

The RUN lines of its first stage are executed as they are, with every folder of the image moved below one of
ours. The program then starts with the environment and command of the image, where possible on a file system
that it cannot write to, and its health check must say so while it runs, and no more when it is gone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("/opt/ci-exporter", "/src", "/wheels", "/dist", "/data")
READ_ONLY = """\
mount --bind / / && mount -o remount,bind,ro / && cd {0} &&
mount -t tmpfs tmpfs data && mount -t tmpfs tmpfs tmp && ! touch here 2>/dev/null && cd data"""
SECONDS = 120
# With what needs the extras; nobody is at these addresses, which keeps no program from being well.
CONFIG = """\
collectors: {runner: {}}
sinks: {kafka: {bootstrap_servers: "127.0.0.1:9", topic: t, events: [runs], redis: {address: "127.0.0.1:9"}}}
alerts: {channels: {team: {url: "json://127.0.0.1:9/"}}}
"""


def instructions(dockerfile: str) -> list[list[tuple[str, str]]]:
    """``(instruction, rest)`` of each stage; the first list is what comes before the first FROM."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    stages: list[list[tuple[str, str]]] = [[]]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stages.append([])
        if word:
            stages[-1].append((word, rest.strip()))
    return stages


def variables(stage: list[tuple[str, str]]) -> dict[str, str]:
    """What ENV and ARG set in a stage."""
    pairs = [pair for word, rest in stage if word in ("ENV", "ARG") for pair in shlex.split(rest)]
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def moved(text: str, image: Path) -> str:
    """*text* with the folders of the image below *image*."""
    folders = "|".join(re.escape(folder) for folder in FOLDERS)
    return re.sub(rf"(?<![\w.])({folders})(?![\w-])", lambda found: f"{image}{found[1]}", text)


def build(stage: list[tuple[str, str]], image: Path) -> None:
    """Execute the COPY and RUN lines of *stage*."""
    source = image / "src"
    source.mkdir(parents=True)
    (image / "opt").mkdir()
    # Our own cache of packages may be used; the image has none.
    env = {name: value for name, value in variables(stage).items() if name != "PIP_NO_CACHE_DIR"}
    for word, rest in stage:
        if word == "COPY":
            *names, _ = rest.split()
            archive = subprocess.run(
                ["git", "archive", "HEAD", *names], cwd=ROOT, stdout=subprocess.PIPE, check=True
            )
            subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
        elif word == "RUN":
            command = re.sub(r"\bpython\b(?= -m (pip|venv))", sys.executable, moved(rest, image))
            print(f"RUN {rest}", flush=True)
            subprocess.run(["/bin/sh", "-ec", command], cwd=source, env=os.environ | env, check=True)


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def can_be_read_only(image: Path) -> bool:
    """Whether this machine lets us have a file system of our own that cannot be written to."""
    command = ["unshare", "--mount", "/bin/sh", "-c", READ_ONLY.format(image)]
    return shutil.which("unshare") is not None and subprocess.run(command, check=False).returncode == 0


def run(stage: list[tuple[str, str]], image: Path) -> None:
    """Start the program as the image would, ask its health check, and stop it."""
    told = dict(stage)
    env = {name: moved(value, image) for name, value in variables(stage).items()}
    env["PATH"] = f"{image}/opt/ci-exporter/bin:{os.environ['PATH']}"
    env["CI_EXPORTER__METRICS__HEALTH_ADDR"] = f"127.0.0.1:{free_port()}"
    env["CI_EXPORTER__STORE__URL"] = f"sqlite:///{image}/data/pipelines.db"
    env["TMPDIR"] = str(image / "tmp")  # where /tmp would be a tmpfs
    (image / "tmp").mkdir()
    (image / "config.yaml").write_text(CONFIG)
    command = [*json.loads(told["ENTRYPOINT"]), *json.loads(told["CMD"])]
    command[command.index("--config") + 1] = str(image / "config.yaml")
    command[command.index("--web.listen-address") + 1] = f":{free_port()}"
    if can_be_read_only(image):
        print("its root file system is read-only")
        script = f'{READ_ONLY.format(image)} && exec "$@"'
        command = ["unshare", "--mount", "/bin/sh", "-c", script, "sh", *command]
    else:
        print("this machine allows no mounts: its root file system is writable")
    check = json.loads(told["HEALTHCHECK"].partition(" CMD ")[2])

    def healthy() -> bool:
        # A proxy in the environment must not be asked.
        environ = env | {"http_proxy": "http://127.0.0.1:9"}
        return subprocess.run(check, env=environ, capture_output=True, check=False).returncode == 0

    process = subprocess.Popen(command, env=env, cwd=image)
    try:
        deadline = time.monotonic() + SECONDS
        while not healthy():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the program did not become healthy")
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        if process.wait(30) != 0:
            sys.exit(f"the program ended with exit code {process.returncode}")
    finally:
        if process.poll() is None:
            process.kill()
    if healthy():
        sys.exit("the health check is happy with a program that is gone")


def size(folder: Path) -> float:
    """How much is in *folder*, in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if not path.is_symlink()) / 1e6


def main(image: Path) -> None:
    """Build below *image*, which must not exist yet, and run."""
    _, first, last = instructions((ROOT / "deploy" / "Dockerfile").read_text())
    build(first, image)
    print(f"/opt/ci-exporter has {size(image / 'opt'):.0f} MB")
    run(last, image)
    print("the image's program starts, is healthy and stops")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
