"""Every method of the wire by its word: the one table that daemon, client, documentation and tests go by."""

from __future__ import annotations

from typing import Any

from stoker.protocol import requests as r
from stoker.protocol.objects import OBJECT_REQUESTS

METHODS: dict[str, Any] = {
    kind.method: kind
    for kind in (
        r.Hello,
        r.Bye,
        r.Ping,
        r.Status,
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
        r.Events,
        r.ConfigShow,
        r.Reload,
        r.Shutdown,
        *OBJECT_REQUESTS,
    )
} | {"start": r.Start}
"""Word -> request struct, or a union of them told apart by ``kind``."""
