"""``stress-ng`` as a load: the real program, supervised, and measured from outside.

The burner's process does not burn; it runs one instance of one stressor under it, which dies with it: stress-ng by
PDEATHSIG, its own workers with stress-ng. They are a process group of their own in the burner's session: should it be
stopped when the burner ends, the kernel wakes it with SIGHUP and SIGCONT, or its workers would die only when continued.
The CPU clocks of all that runs below the burner are summed and entered in the page like those of any kind, so achieved
is measured and not believed.

They also steer it, by the control law of every other kind, on a grid of 40 ms: in each period all of it runs until the
CPU time that is owed has been used, and is stopped (SIGSTOP) until the next. So every stressor has a load, follows a
profile and obeys guards. The ``--cpu-load`` of stress-ng itself is not used: it is a duty cycle by the wall clock, in
whole percent, that is set once.

What a stressor writes lies in a directory of its own that is removed at the end. Only SIGKILL prevents that; then the
next one that starts there removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from stokerd.burners.control import Ledger
from stokerd.burners.diary import Clocks, Diary, first_order
from stokerd.burners.kinds import Params, Refusal
from stokerd.burners.page import Page
from stokerd.forkserver import prctl

PERIOD = 0.040
"""Seconds of one period: below :data:`stokerd.burners.reading.SILENT`, and looking that often is cheap."""

LEAST_RUN = 0.001
"""Seconds: what is owed less than this is owed on until the next period."""

END_SECONDS = 1.0
"""From SIGTERM, on which stress-ng removes its files, to SIGKILL."""

LIST_SECONDS = 10.0
"""For stress-ng to list its stressors; it takes some milliseconds."""

_PREFIX = "stoker-stress-ng-"
_TICKS = os.sysconf("SC_CLK_TCK")


def run(stressor: str, params: Params, page: Page, clocks: Clocks, observed: Callable[[], None]) -> None:
    """Run as ordered until the order says stop or its deadline is over.

    Args:
        stressor: a name that stress-ng knows.
        params: ``folder``: where the stressor's own directory is to be made.
        page: shared with the daemon.
        clocks: where the time comes from.
        observed: called whenever the load of an order has been observed.

    Raises:
        Refusal: there is no stress-ng, it has no such stressor, or it ended.
    """
    program = find_program()
    check(program, stressor)
    prctl.adopt_orphans()
    signal.signal(signal.SIGTERM, _leave)
    with _folder(program, stressor, params.get("folder")) as folder:
        stress = StressNg(program, stressor, folder)
        try:
            _supervise(stress, page, clocks, observed)
        finally:
            stress.end()


def _supervise(stress: StressNg, page: Page, clocks: Clocks, observed: Callable[[], None]) -> None:
    wall, sleep, rest = clocks
    order = first_order(page, sleep)
    stress.start()
    ledger, diary = Ledger(wall(), stress.cpu_seconds()), Diary(page)
    while True:
        order = page.order() or order
        ledger.settle(wall(), stress.cpu_seconds())
        if diary.enter(order, ledger):
            observed()
        if order.stop or ledger.at >= order.deadline:
            return
        stress.look()
        ledger.target = order.target
        if diary.is_at_rest(order, ledger):
            stress.hold()
            rest(order.deadline - ledger.at)
            continue
        edge = ledger.at + PERIOD
        if (owed := ledger.goal(edge) - stress.cpu_seconds()) >= LEAST_RUN:
            stress.release()
            sleep(min(owed, PERIOD))
        if stress.cpu_seconds() >= ledger.goal(edge):
            stress.hold()
        if (left := edge - wall()) > 0:
            sleep(left)


def _leave(_signum: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


class StressNg:
    """One stress-ng and all that it starts.

    Args:
        program: its path.
        stressor: which of its stressors; one instance.
        folder: where it may write; None: it writes nothing.
    """

    def __init__(self, program: str, stressor: str, folder: str | None) -> None:
        self._program, self._stressor, self._folder = program, stressor, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._said = os.memfd_create("stress-ng", os.MFD_CLOEXEC)
        self._is_held = False
        self._cpu = 0.0

    def release(self) -> None:
        """Let it run."""
        if self._is_held:
            self._is_held = False
            self._signal(signal.SIGCONT)

    def hold(self) -> None:
        """Stop it where it is."""
        self._is_held = True
        self._signal(signal.SIGSTOP)  # again too: there may be new ones

    def look(self) -> None:
        """See that it still runs.

        Raises:
            Refusal: it has ended.
        """
        if self._process is None or self._process.poll() is None:
            return
        code = self._process.returncode
        how = f"with exit code {code}" if code >= 0 else f"by signal {-code}"
        last = os.pread(self._said, 4096, max(0, os.fstat(self._said).st_size - 4096)).decode("utf-8", "replace")
        lines = [line.strip() for line in last.splitlines() if line.strip()]
        why = ": " + re.sub(r"^stress-ng: \w+:\s*(\[\d+\]\s*)?", "", lines[-1]) if lines else ""
        raise Refusal(f"stress-ng ended {how}{why}", hint=f"try it by itself: stress-ng --{self._stressor} 1 -t 5")

    def cpu_seconds(self) -> float:
        """CPU time of all that it ever ran, from outside; never less than before."""
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = own.ru_utime + own.ru_stime + sum(map(_cpu_of, descendants(os.getpid())))
        self._cpu = max(self._cpu, total)
        return self._cpu

    def end(self) -> None:
        """End it and all that it has started, whatever group that is in, and reap it all."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the daemon's next rung: it would only interrupt this
        if self._process is not None:
            self._process.terminate()
            self._signal(signal.SIGCONT)  # what is stopped hears nothing
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        while self._signal(signal.SIGKILL):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, 0)
        os.close(self._said)

    def start(self) -> None:
        """Execute it.

        Raises:
            Refusal: it cannot be.
        """
        arguments = [f"--{self._stressor}", "1", "--timeout", "0", "--quiet"]
        if self._folder is not None:
            arguments += ["--temp-path", self._folder]
        try:
            self._process = subprocess.Popen(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                cwd=self._folder or "/",
                process_group=0,
                preexec_fn=partial(_die_with, os.getpid()),  # noqa: PLW1509  # this process has one thread
            )
        except OSError as why:
            raise Refusal(f"{self._program} cannot be executed: {why.strerror}") from None

    def _signal(self, signum: int) -> bool:
        """Send a signal to all below us; False: there is nobody."""
        found = list(descendants(os.getpid()))
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signum)
        return bool(found)


def _die_with(parent: int) -> None:
    if not prctl.die_with_parent(parent, signal.SIGKILL):
        os._exit(1)


def find_program() -> str:
    """The path of stress-ng.

    Raises:
        Refusal: it is not installed.
    """
    program = shutil.which("stress-ng")
    if program is None:
        raise Refusal(
            "stress-ng is not installed: there is none on the daemon's PATH",
            hint="install it with `apt install stress-ng` or `dnf install stress-ng`, or take a kind of Stoker's own",
        )
    return program


def check(program: str, stressor: str) -> None:
    """See that stress-ng has this stressor.

    Raises:
        Refusal: it has not.
    """
    known = _ask(program, "--stressors")
    if stressor in known:
        return
    import difflib

    near = difflib.get_close_matches(stressor, known, n=1)
    raise Refusal(
        f"stress-ng has no stressor {stressor!r}",
        hint=f"did you mean {near[0]!r}?" if near else "`stress-ng --stressors` lists those that it has",
    )


def _ask(program: str, *question: str) -> list[str]:
    """The words that it answers."""
    try:
        done = subprocess.run([program, *question], capture_output=True, timeout=LIST_SECONDS, text=True)
    except (OSError, subprocess.SubprocessError, ValueError) as why:
        raise Refusal(f"{program} does not tell what it has: {why}", hint="see whether it runs by itself") from None
    return done.stdout.split()


@contextlib.contextmanager
def _folder(program: str, stressor: str, base: str | None) -> Iterator[str | None]:
    """A directory for what the stressor writes; those of the class ``cpu`` write nothing."""
    if stressor in _ask(program, "--class", "cpu?"):
        yield None
        return
    where = base or tempfile.gettempdir()
    try:
        sweep(where)
        folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=where)
    except OSError as why:
        raise Refusal(
            f"the folder {where} cannot be written to: {why.strerror}",
            hint="give the absolute path of a directory that the daemon's user may write in",
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(where: str) -> None:
    """Remove what those have left who were killed before they could."""
    for path in Path(where).glob(f"{_PREFIX}*"):
        found = re.fullmatch(rf"{_PREFIX}(\d+)-\w+", path.name)
        if found and not Path(f"/proc/{found[1]}").exists() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def descendants(pid: int) -> Iterator[int]:
    """All processes below this one; those that come or go meanwhile may be missing."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            yield int(child)
            yield from descendants(int(child))


def _cpu_of(pid: int) -> float:
    """CPU seconds of a process, by its own clock (clock_getcpuclockid(3)), and of the children that it has reaped."""
    try:
        own = time.clock_gettime((~pid << 3) | 2)
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return own + (int(fields[13]) + int(fields[14])) / _TICKS
