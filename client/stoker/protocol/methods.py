"""Every method of the wire by its word: the one table that daemon, client, documentation and tests go by."""

from __future__ import annotations

from typing import Any

from stoker.protocol import requests as r
from stoker.protocol.objects import OBJECT_REQUESTS
from stoker.protocol.roles import Role

METHODS: dict[str, Any] = {
    kind.method: kind
    for kind in (
        r.Hello,
        r.Bye,
        r.Ping,
        r.Status,
        r.Share,
        r.Upload,
        r.Submit,
        r.Jobs,
        r.Wait,
        r.Result,
        r.Cancel,
        r.Retry,
        r.Progress,
        r.Lend,
        r.Limit,
        r.Drain,
        r.Room,
        r.Logs,
        r.Set,
        r.Figures,
        r.Signal,
        r.Stop,
        r.Restart,
        r.Events,
        r.ConfigShow,
        r.ConfigDiff,
        r.Reload,
        r.Keys,
        r.Shutdown,
        *OBJECT_REQUESTS,
    )
} | {"start": r.Start}
"""Word -> request struct, or a union of them told apart by ``kind``."""

LEAST_ROLE: dict[type, Role] = {
    **dict.fromkeys(
        (r.Hello, r.Bye, r.Ping, r.Status, r.Jobs, r.Wait, r.Room, r.Figures, r.Events),
        Role.OBSERVE,
    ),
    **dict.fromkeys(
        (
            r.Share,
            r.Upload,
            r.Submit,
            r.Result,
            r.Cancel,
            r.Retry,
            r.Progress,
            r.Lend,
            r.Logs,
            r.StartBurner,
            r.StartProcess,
            r.StartKnown,
            r.Restart,
            r.StartPool,
            r.Set,
            r.Signal,
            r.Stop,
            *OBJECT_REQUESTS,
        ),
        Role.SUBMIT,
    ),
    **dict.fromkeys((r.Limit, r.Drain, r.ConfigShow, r.ConfigDiff, r.Reload, r.Keys, r.Shutdown), Role.ADMIN),
}
"""Request struct -> the least role that may ask it. What is not written here takes :attr:`Role.ADMIN`."""


def least_role(kind: type) -> Role:
    """The least role that may ask this."""
    return LEAST_ROLE.get(kind, Role.ADMIN)
