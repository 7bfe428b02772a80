"""The cluster's servers as processes: started tethered, logged to a file, stopped in order."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from tests.cluster.harness.errors import HarnessError

TETHER = Path(__file__).with_name("tether.py")
LOG_TAIL_LINES = 15

# The kernel's "parent" is the thread that forked: a child started from a test's worker thread would die with that
# thread. So one thread, which lives as long as the process, starts them all.
_launcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")


def spawn(
    command: Sequence[str | Path], *, log: IO[bytes], folder: Path, environ: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` in `folder`, tethered to this process, its output appended to `log`."""
    tethered = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *map(str, command)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            tethered,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environ or {})},
            start_new_session=True,  # Ctrl-C is for us: we stop the servers in order
        )

    return _launcher.submit(start).result()


def free_port() -> int:
    """A port of 127.0.0.1 that the kernel gives to nobody else for a minute.

    The pair of sockets leaves the port in TIME_WAIT: skipped when another process asks for any free port,
    free to a server that binds it by number (Go's listeners set SO_REUSEADDR).
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port: int = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            accepted.close()
    return port


class Server:
    """One server of the cluster; it can be started and stopped again and again and appends to one log."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        logs: Path,
        folder: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        self._command = command
        self._folder = folder
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, unless it runs; whether it serves is for the caller to find out."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = spawn(self._command, log=log, folder=self._folder, environ=self._environ)

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, grace: float = 15.0) -> None:
        """End it: SIGTERM, and SIGKILL after `grace` seconds."""
        if self._process is None:
            return
        self.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def check_alive(self) -> None:
        """Raise HarnessError with the end of its log if it has ended by itself."""
        if self._process is not None and not self.running:
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            raise HarnessError(
                f"{self.name} ended with code {self._process.returncode}; the end of {self.log}:\n" + "\n".join(lines)
            )
