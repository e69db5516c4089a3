"""Several serving processes behind one listening socket.

The supervisor binds the socket once and never accepts on it: every worker inherits it, so a worker
that dies takes no queue of connections with it, and one that is renewed refuses nobody. It imports
little, because it only starts, watches and stops.

SIGTERM and SIGINT stop all workers and wait for them, a second one kills them. SIGHUP renews one
worker after the other: the old one is told to stop when its successor accepts connections. A
worker that dies is started again, later each time it does so soon. Workers see by a pipe that the
supervisor died and then stop.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Final

from tusd_py.announce import Announcement

BACKLOG: Final = 1024
START_SECONDS: Final = 30.0
"""A worker that accepts nothing by then is given up and counts as dead."""
SHORT_LIFE_SECONDS: Final = 30.0
"""Who dies younger than this is restarted later and later."""
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0
MARGIN_SECONDS: Final = 2.0
"""Over ``stop_seconds``: then a worker is killed."""
EXIT_CONFIGURATION: Final = 3
EXIT_UNAVAILABLE: Final = 5
STOPS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Worker:
    """One serving process, and whether it accepts connections yet."""

    process: subprocess.Popen[bytes]
    ready_fd: int
    started_at: float
    is_ready: bool = False
    replaces: "Worker | None" = None
    told_to_stop_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the supervisor needs of the settings; the rest is the workers' to read."""

    host: str
    port: int
    workers: int
    stop_seconds: float
    path: str
    settings_fd: int
    ready_fd: int | None = None
    banner: str = ""


@dataclass
class Supervisor:
    """Keeps ``plan.workers`` workers alive until it is told to stop."""

    plan: Plan
    listener: socket.socket
    workers: list[Worker] = field(default_factory=list)
    pause_seconds: float = FIRST_PAUSE_SECONDS
    not_before: float = 0.0
    is_stopping: bool = False
    failed_code: int | None = None
    _to_renew: list[Worker] = field(default_factory=list)
    _told_ready: bool = False

    def __post_init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._alive_read, self._alive_write = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._signals: list[int] = []

    def run(self) -> int:
        """Until told to stop; the exit code."""
        for number in (*STOPS, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda received, _: self._signals.append(received))
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        while True:
            self._fill()
            self._wait()
            self._obey()
            self._reap()
            self._kill_late_ones()
            if (self.is_stopping or self.failed_code is not None) and not self.workers:
                return self.failed_code or 0

    # ------------------------------------------------------------------ starting

    def _fill(self) -> None:
        if self.is_stopping or self.failed_code is not None:
            return
        staying = [w for w in self.workers if w.told_to_stop_at is None and w.replaces is None]
        if len(staying) < self.plan.workers and time.monotonic() >= self.not_before:
            for _ in range(self.plan.workers - len(staying)):
                self._start(None)
        if self._to_renew and not any(w.replaces for w in self.workers):
            old = self._to_renew.pop(0)
            if old in self.workers:
                self._start(old)

    def _start(self, replaces: Worker | None) -> None:
        ready_read, ready_write = os.pipe()
        handed = (self.plan.settings_fd, self.listener.fileno(), ready_write, self._alive_read)
        names = ("--settings-fd", "--listen-fd", "--ready-fd", "--parent-fd")
        arguments = [str(one) for pair in zip(names, handed, strict=True) for one in pair]
        process = subprocess.Popen(
            [sys.executable, "-m", "tusd_py.server", *arguments], pass_fds=handed
        )
        os.close(ready_write)
        worker = Worker(process, ready_read, time.monotonic(), replaces=replaces)
        self.workers.append(worker)
        self._selector.register(ready_read, selectors.EVENT_READ, worker)

    # ------------------------------------------------------------------ watching

    def _wait(self) -> None:
        for key, _ in self._selector.select(timeout=self._seconds_to_wait()):
            if key.fd == self._wake_read:
                os.read(self._wake_read, 4096)
            else:
                self._note_ready(key.data)

    def _seconds_to_wait(self) -> float:
        busy = self.is_stopping or any(not w.is_ready for w in self.workers)
        return 0.2 if busy or len(self.workers) < self.plan.workers else 60.0

    def _note_ready(self, worker: Worker) -> None:
        line = os.read(worker.ready_fd, 4096)
        self._selector.unregister(worker.ready_fd)
        os.close(worker.ready_fd)
        worker.ready_fd = -1
        if not line:
            return  # it died; the reaper will find it
        worker.is_ready = True
        if worker.replaces is not None:
            self._stop(worker.replaces)
            worker.replaces = None
        if not self._told_ready and sum(w.is_ready for w in self.workers) >= self.plan.workers:
            self._told_ready = True
            port = self.listener.getsockname()[1]
            announcement = Announcement(self.plan.banner, self.plan.ready_fd)
            announcement.tell(host=self.plan.host, port=port, path=self.plan.path)

    def _obey(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number in STOPS:
                if self.is_stopping:
                    self._kill_all()
                self.is_stopping = True
                for worker in self.workers:
                    self._stop(worker)
            elif number == signal.SIGHUP:
                self._to_renew = [w for w in self.workers if w.told_to_stop_at is None]

    def _reap(self) -> None:
        for worker in list(self.workers):
            code = worker.process.poll()
            if code is None:
                continue
            self.workers.remove(worker)
            if worker.ready_fd >= 0:
                self._selector.unregister(worker.ready_fd)
                os.close(worker.ready_fd)
            self._forget_metrics(worker.process.pid)
            if worker.told_to_stop_at is None and not self.is_stopping:
                self._note_death(worker, code)

    def _note_death(self, worker: Worker, code: int) -> None:
        age = time.monotonic() - worker.started_at
        _tell("worker_died", pid=worker.process.pid, code=code, seconds=round(age, 1))
        if code == EXIT_CONFIGURATION or (code == EXIT_UNAVAILABLE and not self._told_ready):
            # It will not get better by trying again; or whoever starts us wants to know.
            self.failed_code = code
            for other in self.workers:
                self._stop(other)
            return
        if worker.replaces is not None:
            return  # the old one goes on
        if age < SHORT_LIFE_SECONDS:
            self.not_before = time.monotonic() + self.pause_seconds
            self.pause_seconds = min(2 * self.pause_seconds, LONGEST_PAUSE_SECONDS)
        else:
            self.pause_seconds = FIRST_PAUSE_SECONDS

    # ------------------------------------------------------------------ stopping

    def _stop(self, worker: Worker) -> None:
        if worker.told_to_stop_at is None:
            worker.told_to_stop_at = time.monotonic()
            worker.process.terminate()

    def _kill_all(self) -> None:
        for worker in self.workers:
            worker.process.kill()

    def _kill_late_ones(self) -> None:
        now = time.monotonic()
        for worker in self.workers:
            late_to_start = not worker.is_ready and now - worker.started_at > START_SECONDS
            told = worker.told_to_stop_at
            patience = self.plan.stop_seconds + MARGIN_SECONDS
            if late_to_start or (told is not None and now - told > patience):
                worker.process.kill()

    def _forget_metrics(self, pid: int) -> None:
        """Gauges of a process that is gone count no more; its counters do."""
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
        for kind in ("livesum", "liveall"):
            with contextlib.suppress(OSError):
                os.remove(os.path.join(directory, f"gauge_{kind}_{pid}.db"))


def _tell(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, "level": "warning", **fields}), file=sys.stderr, flush=True)


def bind(host: str, port: int) -> socket.socket:
    """The listening socket that every worker inherits. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.create_server(
        (str(address[0]), int(address[1])), family=family, backlog=BACKLOG
    )
    listener.setblocking(False)
    return listener


def main(arguments: list[str]) -> int:
    """``--plan JSON``: the fields of Plan."""
    plan = Plan(**json.loads(arguments[1]))
    try:
        listener = bind(plan.host, plan.port)
    except OSError as exc:
        print(f"tusd-py: cannot listen on {plan.host}:{plan.port}: {exc.strerror}", file=sys.stderr)
        return EXIT_CONFIGURATION
    with tempfile.TemporaryDirectory(prefix="tusd-py-metrics-") as directory, listener:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        return Supervisor(plan, listener).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
