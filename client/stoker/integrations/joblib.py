"""joblib on Stoker: importing this module registers the backend ``stoker``, and scikit-learn runs on it.

::

    import stoker.integrations.joblib

    with joblib.parallel_config(backend="stoker"):
        GridSearchCV(estimator, grid, n_jobs=-1).fit(X, y)

Batches adapt their size as with joblib's own backends. Arrays above ``max_nbytes`` are mapped from a file, not copied,
where the daemon is on this machine.

*Nested parallelism* is as with joblib's own: a ``Parallel`` inside a task runs in threads of that task's worker, one
inside of that one after the other. A task that asks for the backend ``stoker`` by name gets workers of its own, and so
cannot wait for the slot that it holds itself.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import joblib
from joblib._memmapping_reducer import TemporaryResourcesManager, get_memmapping_reducers
from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from stoker import environment
from stoker.executor import Executor
from stoker.initialized import managers_key
from stoker.integrations import batches

__all__ = ["StokerBackend"]

Key = tuple[Any, ...]


class _Entry:
    """An executor on the shelf.

    Args:
        key: all that it was made with.
        executor: it.
    """

    def __init__(self, key: Key, executor: Executor) -> None:
        self.key = key
        self.executor = executor
        self.users = 0

    def serves(self, key: Key) -> bool:
        """True if one that is made with ``key`` would be the same."""
        try:
            return not self.executor.lost and all(
                mine is theirs or bool(mine == theirs) for mine, theirs in zip(self.key, key, strict=True)
            )
        except Exception:  # arguments of an initializer that can't be compared: arrays, say
            return False


class _Shelf:
    """Executors in the hands of calls of ``Parallel``; after a call, the one that was used last, with its workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []

    def take(self, key: Key, make: Callable[[], Executor]) -> Executor:
        """The executor of this key, shared with whoever has it."""
        with self._lock:
            entry = next((entry for entry in self._entries if entry.serves(key)), None)
            if entry is None:
                entry = _Entry(key, make())
                self._entries.append(entry)
            entry.users += 1
            return entry.executor

    def give_back(self, executor: Executor) -> None:
        """One user less."""
        with self._lock:
            mine = next(entry for entry in self._entries if entry.executor is executor)
            mine.users -= 1
            surplus = [entry for entry in self._entries if not entry.users and entry is not mine]
            self._entries = [entry for entry in self._entries if entry not in surplus]
        for entry in surplus:
            entry.executor.shutdown(wait=False)


_shelf = _Shelf()


class StokerBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """A backend of joblib's that runs batches in a pool of a daemon.

    Args:
        pool: which pool; None: ``default``, or workers of its own where that has fewer than ``n_jobs``.
        endpoint: of the daemon, as of :class:`stoker.Client`.
        options: joblib's own.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    def __init__(self, *, pool: str | None = None, endpoint: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._pool_name = pool
        self._endpoint = endpoint
        self._workers: Executor | None = None
        self._manager: Any = None
        self._reducers: dict[type, batches.Reducer] = {}
        self._under_way: set[Future[bytes]] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many batches run at once: ``n_jobs``, counted from the number of usable cores where negative.

        Raises:
            ValueError: it is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return int(n_jobs) if n_jobs > 0 else max(int(joblib.cpu_count()) + 1 + n_jobs, 1)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,  # noqa: ARG002 - joblib's signature
        require: str | None = None,  # noqa: ARG002 - likewise
        **options: Any,
    ) -> int:
        """Get ready for a call of ``Parallel``; returns how many batches run at once.

        Args:
            n_jobs: as asked for.
            parallel: whose call it is.
            prefer: of no use here.
            require: likewise.
            options: ``initializer`` and ``initargs``, with which the workers are no others'; and joblib's options for
                mapping large arrays: ``max_nbytes``, ``mmap_mode``, ``temp_folder``.

        Raises:
            FallbackToBackend: one job is best run right here.
            ConnectionFailed: no daemon can be reached.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        options = {**self.backend_kwargs, **options}
        wanted = {
            # as many threads of BLAS and OpenMP as joblib allows with its own backends: the cores, divided by n_jobs
            "environment": environment.of_library() | {"env": self._prepare_worker_env(n_jobs)},
            "initializer": options.get("initializer"),
            "initargs": options.get("initargs", ()),
            "pool": self._pool_name,
        }
        key = (self._endpoint, n_jobs, *wanted.values())
        self._workers = _shelf.take(key, lambda: self._make(n_jobs, wanted))
        self.parallel = parallel
        self._map_arrays(options)
        return n_jobs

    def _make(self, n_jobs: int, wanted: dict[str, Any]) -> Executor:
        return Executor(n_jobs, endpoint=self._endpoint, **wanted)

    def _map_arrays(self, options: dict[str, Any]) -> None:
        """Large arrays travel as files that the workers map; joblib's resource tracker sees to their end."""
        if self._workers is None or not self._workers.is_local:
            return
        wanted = {name: options[name] for name in ("max_nbytes", "mmap_mode", "verbose") if name in options}
        self._manager = TemporaryResourcesManager(options.get("temp_folder"))
        self._reducers, _ = get_memmapping_reducers(
            temp_folder_resolver=self._manager.resolve_temp_folder_name,
            # the workers take no part in counting who uses a file: they go when the call is over
            unlink_on_gc_collect=False,
            **wanted,
        )

    def submit(self, func: Callable[[], Any], callback: Callable[[Future[bytes]], None] | None = None) -> Future[bytes]:
        """Have a batch run; what cannot be pickled fails its Future."""
        assert self._workers is not None  # noqa: S101 - joblib configures first
        future: Future[bytes]
        try:
            packed = batches.packed(func, self._reducers)
        except Exception as why:
            future = Future()
            future.set_exception(_unpicklable(why))
        else:
            future = self._workers.submit(batches.run, packed, managers_key() if self._workers.is_local else None)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: Future[bytes]) -> Any:
        """The values of a batch.

        Raises:
            Exception: what one of its tasks raised.
        """
        return pickle.loads(future.result())  # noqa: S301 - it comes from this user's own worker

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001, FBT002 - joblib's signature
        """End what runs and drop what waits; the workers stay, so there is nothing to make ready again."""
        del ensure_ready
        if self._workers is not None:
            self._workers.kill_all(list(self._under_way))

    def terminate(self) -> None:
        """The call of ``Parallel`` is over: its files go, the workers stay for the next one."""
        if self._workers is not None:
            workers, self._workers = self._workers, None
            _shelf.give_back(workers)
        if self._manager is not None:
            self._manager._clean_temporary_resources(force=True)  # noqa: SLF001 - as joblib's own backends
            self._manager = None
            self._reducers = {}
        self.reset_batch_stats()

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Nothing to do: a task that waits here for others waits for workers that are not its own."""
        yield


def _unpicklable(why: Exception) -> pickle.PicklingError:
    error = pickle.PicklingError(f"Could not pickle the task to send it to the workers: {type(why).__name__}: {why}")
    error.__cause__ = why
    return error


joblib.register_parallel_backend("stoker", StokerBackend)
