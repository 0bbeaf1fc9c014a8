"""One worker at work on one job: start it, send it commands, receive what it reports, end it."""

import contextlib
import subprocess
import sys
import tempfile
from typing import Self

from fer_bench.measuring import messages
from fer_bench.measuring.messages import Job, Message, Refused
from fer_bench.measuring.processes import END_LIMIT_S, Starter, ending, lines
from fer_bench.records.errors import DeviceError, FerBenchError
from fer_bench.records.output import capped, printable


class WorkerError(FerBenchError):
    """A worker failed, ended, hangs, or answers rubbish.

    Attributes:
        refused: it said itself that the job cannot be done, so that another worker would say the same.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(capped(message))
        self.refused = refused


class Session:
    """A worker's session; however the block ends, the worker is gone then.

    Args:
        job: what it does.
        starter: of processes.
        debug: pass on to stderr what the process prints there.
    """

    def __init__(self, job: Job, starter: Starter, *, debug: bool = False) -> None:
        self._job, self._starter, self._debug = job, starter, debug
        self._limit_s = job.plan.time_limit_s
        self.left_behind = 0  # processes of the network that were ended after its worker

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # closed below
        try:
            job = self._job
            self._worker = self._starter.start(
                messages.dump(job),
                self._errors,
                job.plan.wait,
                stepped=job.stepped,
                fresh=job.without_pytorch,
            )
        except BaseException:
            self._errors.close()
            raise
        self._answers = lines(self._worker.answers, self._limit_s)
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.kill()
        try:
            self._worker.wait(END_LIMIT_S)
            self.left_behind = self._worker.left_behind
        except subprocess.TimeoutExpired:  # it hangs in the kernel, on a GPU perhaps
            self._starter.close()
        with self._errors:
            if self._debug:
                self._errors.seek(0)
                sys.stderr.write(printable(self._errors.read(), lines=True))

    def send(self, command: Message) -> None:
        """Send a command to a stepped worker; one that has ended is noticed by ``receive``."""
        self._worker.send(messages.dump(command))

    def end_gently(self, limit_s: float) -> None:
        """Ask the worker to end by itself, as a training does when it has kept its state, and wait so long for that."""
        self._worker.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):  # then it is killed
            self._worker.wait(limit_s)

    def receive(self) -> Message:
        """Return the worker's next message.

        Raises:
            WorkerError: it refused the job, ended, hangs, or answers something else.
            DeviceError: the plan's device is not there.
        """
        line = next(self._answers, "")
        if line is None:
            raise self._silent()
        if not line:  # it says no more: how it ends is the reason
            try:
                raise WorkerError(ending(self._worker.wait(self._limit_s), self._errors))
            except subprocess.TimeoutExpired:
                raise self._silent() from None
        try:
            message = messages.load(line)
        except ValueError:
            raise WorkerError("the process sent something other than a measurement") from None
        if isinstance(message, Refused):
            raise DeviceError(message.reason) if message.no_device else WorkerError(message.reason, refused=True)
        return message

    def _silent(self) -> WorkerError:
        return WorkerError(f"gave no answer for {self._limit_s:g} s")
