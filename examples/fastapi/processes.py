"""The processes of the example: each is started here, waited for, and stopped by its own handle."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
START_S_MAX = 60.0
STOP_S_MAX = 20.0


class ExampleError(Exception):
    """Something did not come to pass; the text says what and where to look."""


class Process:
    """A process that writes to a log of its own, and runs while the body of a `with` does.

    Args:
        name: Of the process and its log.
        command: With its arguments.
        folder: Where its log goes.
        environment: Variables besides those that are there.
        is_ready: Asked until it says yes.
    """

    def __init__(
        self, name: str, command: list[str], folder: Path, environment: Mapping[str, str], is_ready: Callable[[], bool]
    ) -> None:
        self.log = folder / f"{name}.log"
        self._name = name
        self._command = command
        self._environment = {**os.environ, **environment}
        self._is_ready = is_ready
        self._running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._running = subprocess.Popen(
                self._command,
                cwd=Path(__file__).parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours: it stops them in order.
            )
        try:
            self._wait_until_ready()
        except BaseException:  # Also Ctrl-C: nobody calls __exit__ of what was not entered.
            self.stop()
            raise
        return self

    def _wait_until_ready(self) -> None:
        assert self._running is not None
        deadline = time.monotonic() + START_S_MAX
        while not self._is_ready():
            if self._running.poll() is not None or time.monotonic() > deadline:
                raise ExampleError(f"{self._name} did not start; it said:\n{self.log.read_text(errors='replace')}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it, and wait until it has; nothing happens to one that has stopped."""
        if self._running is None or self._running.poll() is not None:
            return
        self._running.terminate()
        try:
            self._running.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def usable_port(port: int, option: str) -> int:
    """The port, or a free one instead of 0; ExampleError if it is taken."""
    try:
        with socket.create_server(("127.0.0.1", port)) as opened:
            return int(opened.getsockname()[1])
    except OSError as problem:
        raise ExampleError(f"port {port} is in use: choose another by {option} (0 takes a free one)") from problem


def is_listening(port: int) -> bool:
    """Whether something takes connections there."""
    with socket.socket() as opened:
        opened.settimeout(1)
        return opened.connect_ex(("127.0.0.1", port)) == 0


def find_prometheus(chosen: str | None) -> Path | None:
    """Prometheus 3 or newer: the chosen one, the one on the path, or the one that `make parts` builds."""
    found = chosen or shutil.which("prometheus")
    if found and _is_new_enough(found):
        return Path(found)
    if chosen:
        raise ExampleError(f"{chosen} is no Prometheus 3 or newer")
    sys.path.append(str(ROOT / "tests" / "acceptance"))
    from parts import prometheus_path

    return prometheus_path() if prometheus_path().exists() else None


def _is_new_enough(binary: str) -> bool:
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    said = done.stdout + done.stderr
    # One that `go install` has built does not know its version.
    return "prometheus" in said and re.search(r"version [0-2]\.", said) is None
