"""Structure files read by processes beside the prediction: in order, and one bad file stops nobody.

Process w of W reads the files w, w + W, ... It sends its items in messages of about a chunk, and waits
until the last one was taken, so that memory is bounded. If a process dies, the file that it was reading
becomes an item with an error, and a new process goes on after it. The processes are started afresh, not
forked: torch's threads do not survive a fork, and a script of the user's is not imported again.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from dglframer.common.own_code import PACKAGE
from dglframer.evaluation.items import MAX_ITEMS, Item, Position, Wanted, items_of_file, read_items

BYTES_PER_PROCESS = 500_000  # reading fewer takes less time than starting a process
MAX_PROCESSES = 16


class Job(NamedTuple):
    """What one process reads."""

    files: list[tuple[int, str, str]]  # number, path, id
    n_done: int  # structures of the first file that are passed over
    edges_per_message: int  # 0: each item is sent at once
    wanted: Wanted


def usual_processes(files: Sequence[Path], threads: int) -> int:
    """How many processes to start: the cores that ``threads`` leave, if there is enough to read."""
    free = len(os.sched_getaffinity(0)) - threads
    n_bytes = sum(path.stat().st_size for path in files if path.is_file())
    return max(0, min(free, MAX_PROCESSES, len(files), n_bytes // BYTES_PER_PROCESS))


def read_in_processes(
    files: Sequence[Path],
    ids: Sequence[str],
    start: Position,
    wanted: Wanted,
    n_processes: int,
    edges_per_chunk: int,
) -> Iterator[Item]:
    """The items of ``items.read_items``, read by ``n_processes`` (0: by this one)."""
    n_processes = min(n_processes, len(files) - start[0])
    if n_processes < 1:
        yield from read_items(files, ids, start, wanted)
        return
    everything = [(k, str(files[k]), ids[k]) for k in range(start[0], len(files))]
    edges_per_message = max(1, edges_per_chunk // n_processes)
    readers = [
        Reader(Job(everything[w::n_processes], 0 if w else start[1], edges_per_message, wanted))
        for w in range(n_processes)
    ]
    try:
        for n in range(len(everything)):
            yield from readers[n % n_processes].next_file()
    finally:
        for reader in readers:
            reader.stop()


class Reader:
    """One process, and what came from it."""

    def __init__(self, job: Job):
        self.job = job
        self.n_files = 0  # of the job that are done
        self.n_done = job.n_done  # structures of the next one that are
        self.received: deque[Item | None] = deque()
        self.start(job.edges_per_message)

    def start(self, edges_per_message: int) -> None:
        """Start a process for the files that are left."""
        ours, theirs = Pipe()
        place = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": place.rstrip(os.pathsep), "OMP_NUM_THREADS": "1"}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        self.connection, self.edges_per_message = ours, edges_per_message
        files = self.job.files[self.n_files :]
        with suppress(OSError):  # it died at once: the next receipt tells
            ours.send(Job(files, self.n_done, edges_per_message, self.job.wanted))

    def next_file(self) -> Iterator[Item]:
        """The items of the file whose turn it is."""
        while True:
            try:
                while (item := self.receive()) is not None:
                    self.n_done += 1
                    yield item
                self.n_files, self.n_done = self.n_files + 1, 0
                return
            except (EOFError, OSError):
                how = self.how_it_ended()
            if not self.edges_per_message:  # it told all that it had read: it died at this file
                k, path, id = self.job.files[self.n_files]
                yield Item(id, path, (k + 1, 0), error=f"the process that read it {how}")
                self.n_files, self.n_done = self.n_files + 1, 0
                if self.n_files < len(self.job.files):
                    self.start(self.job.edges_per_message)
                return
            self.start(0)

    def receive(self) -> Item | None:
        """The next item; None at the end of a file. Raises EOFError or OSError if the process died."""
        if not self.received:
            self.received.extend(self.connection.recv())
        return self.received.popleft()

    def how_it_ended(self) -> str:
        """The end of the process in words."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.stop()
        status = self.process.returncode
        if status < 0:
            return f"was ended by signal {-status} ({signal.Signals(-status).name})"
        return f"ended with status {status}"

    def stop(self) -> None:
        """End the process, if it has not ended."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


def serve(connection: Connection) -> None:
    """Read the files of one job, and send their items, with None after each file."""
    job: Job = connection.recv()
    message: list[Item | None] = []
    n_edges = 0
    for number, (k, path, id) in enumerate(job.files):
        n_done = 0 if number else job.n_done
        for item in chain(items_of_file(Path(path), id, k, n_done, job.wanted), [None]):
            message.append(item)
            n_edges += item.n_edges if item else 0
            if n_edges >= job.edges_per_message or len(message) >= MAX_ITEMS:
                connection.send(message)
                message, n_edges = [], 0
    connection.send(message)


def main() -> None:
    """Serve the connection whose number is the argument, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that predicts
    with Connection(int(sys.argv[1])) as connection, suppress(EOFError, ConnectionError):
        serve(connection)


if __name__ == "__main__":
    main()
