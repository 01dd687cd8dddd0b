"""Events as lines of the log, with the ids that they are about bound to them."""

from __future__ import annotations

from logging import DEBUG

from stoker.protocol.events import Event, JobsEnded, JobsQueued, JobsStarted, WorkerEnded
from stoker.protocol.states import JobState
from stoker.protocol.typed import to_map
from stokerd.log import get_logger

_QUIET = (JobsQueued, JobsStarted)


class EventLog:
    """A listener of the bus. What happens to every job is for those who debug; what ends badly is for everybody."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """The level of the log has changed."""
        self._log = get_logger().bind()
        self._every_job = self._log.is_enabled_for(DEBUG)

    def hears(self, kind: type[Event]) -> bool:
        """Whether it would log events of this kind, or some of them."""
        return self._every_job or kind not in _QUIET

    def note(self, seq: int, _time: float, event: Event) -> None:
        """Log one event."""
        if type(event) in _QUIET or (type(event) is JobsEnded and event.state is JobState.DONE):
            if self._every_job:
                self._log.debug(event.topic, seq=seq, **_ids(event))
        elif isinstance(event, WorkerEnded) and event.job is not None:
            self._log.warning(event.topic, seq=seq, **_ids(event))
        else:
            self._log.info(event.topic, seq=seq, **_ids(event))


def _ids(event: Event) -> dict[str, object]:
    return {"event_" + key if key in ("event", "seq") else key: value for key, value in to_map(event).items()}
