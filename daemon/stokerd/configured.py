"""From the tables of the configuration to what the parts are given; and what the configuration wants to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stoker.errors import NameTaken, StokerError
from stoker.protocol import codec
from stoker.protocol.loads import PARAMETERS
from stoker.protocol.models import BurnerInfo, ProcessInfo
from stoker.protocol.processes import dependencies, in_order, keeping
from stokerd.config import Config, PoolConfig
from stokerd.control.handlers.processes import task_of
from stokerd.cores import usable_cores
from stokerd.log import get_logger
from stokerd.pool import messages
from stokerd.pool.batch import Function
from stokerd.pool.pools import DEFAULT
from stokerd.pool.settings import Beginning, PoolSettings
from stokerd.processes.settings import Settings as ProcessSettings
from stokerd.promise import Promise
from stokerd.supervisor import Supervisor


def pool_settings(config: Config) -> dict[str, PoolSettings]:
    """Of every pool of the configuration, and of ``default``."""
    names = dict.fromkeys((DEFAULT, *config.pool))
    return {name: _settings_of(config, config.pool.get(name, PoolConfig())) for name in names}


def _settings_of(config: Config, pool: PoolConfig) -> PoolSettings:
    return PoolSettings(
        workers=usable_cores() if pool.workers == "auto" else pool.workers,
        nice=pool.nice,
        output_bytes=pool.output_bytes,
        prefetch=pool.prefetch_ms / 1000,
        result_ttl=pool.result_ttl,
        result_bytes=config.limits.result_bytes,
        queue_jobs=config.limits.queue_jobs,
        queue_bytes=config.limits.queue_bytes,
        session_jobs=config.limits.session_jobs,
        max_jobs=pool.max_jobs,
        memory_bytes=pool.memory_bytes,
        quarantine=pool.quarantine,
        beginning=_beginning(pool) if pool.initializer else None,
    )


def _beginning(pool: PoolConfig) -> Beginning:
    function = Function(pool.initializer.encode(), b"", pool.initializer)
    return Beginning(form=messages.NAMED, function=function, payload=codec.pack([pool.initargs, {}]))


def process_settings(parts: Supervisor, name: str) -> ProcessSettings:
    """Of one process of the configuration."""
    process = parts.config.process[name]
    return ProcessSettings(
        name=name,
        argv=process.argv,
        task=task_of(process.call, process.args, {}, parts.forker.default) if process.call else None,
        cwd=process.cwd or str(Path.cwd()),
        env=process.env,
        keep=keeping(process),
        configured=True,
    )


def start_burner(parts: Supervisor, name: str) -> Promise[BurnerInfo]:
    """Start a burner of the configuration; one of its name that runs is replaced.

    Raises:
        StokerError: as :meth:`stokerd.burners.registry.Burners.start` does.
    """
    burner = parts.config.burner[name]
    check_free(name, parts.pools, parts.processes)
    return parts.burners.start(
        name,
        burner.workers or None,
        burner.load,
        profile=burner.profile or None,
        traces=parts.config.traces.get(name, ()),
        of=burner.of or None,
        mode=burner.mode,
        no_reserve=burner.no_reserve,
        guards=burner.guards,
        yield_to_jobs=burner.yield_to_jobs,
        seconds=burner.seconds or None,
        cpus=burner.cpus,
        nice=burner.nice,
        generator=burner.generator,
        params={key: value for key in PARAMETERS if (value := getattr(burner, key))},
        replace=name in parts.burners,
    )


def start_process(parts: Supervisor, name: str) -> Promise[ProcessInfo] | None:
    """Have a process of the configuration known, and started where it is to be; None where it is not.

    Raises:
        StokerError: as :meth:`stokerd.processes.registry.Processes.run` does.
    """
    check_free(name, parts.pools, parts.burners)
    settings = process_settings(parts, name)
    if parts.config.process[name].autostart:
        return parts.processes.run(settings)
    parts.processes.define(settings)
    return None


def processes_in_order(config: Config) -> list[str]:
    """Each after those that it waits for."""
    return in_order({name: dependencies(process) for name, process in config.process.items()})


def start_all(parts: Supervisor) -> None:
    """What is to run from the start; one that fails does not keep the others from it, and the log tells of it."""
    for name in parts.config.burner:
        _begin("burner", name, lambda name=name: start_burner(parts, name))  # type: ignore[misc]
    for name in processes_in_order(parts.config):
        _begin("process", name, lambda name=name: start_process(parts, name))  # type: ignore[misc]


def _begin(kind: str, name: str, start: Callable[[], Promise[Any] | None]) -> None:
    def tell(why: StokerError) -> None:
        get_logger().error("configured to run, and could not be started", kind=kind, name=name, error=str(why))

    try:
        starting = start()
    except StokerError as why:
        tell(why)
        return
    if starting is not None:
        starting.when_settled(lambda done: tell(done.error) if done.error is not None else None)


def check_free(name: str, *others: Any) -> None:
    """Raises NameTaken where one of these parts has something of this name."""
    if any(name in part for part in others):
        raise NameTaken(
            f"{name!r} is the name of something else that runs already",
            hint="names are shared by pools, burners and processes; stop it, and reload",
        )
