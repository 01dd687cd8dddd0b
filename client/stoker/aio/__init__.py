"""``stoker.aio``: the client for asyncio.

::

    async with stoker.aio.Client() as client:
        job = await client.submit(pow, 2, 10)
        print(await job)
        async for value in client.map(len, ["a", "bb"]):
            print(value)

*Cancellation.* Cancelling a task that awaits a job cancels the job, as it would cancel an asyncio Future:
``async with asyncio.timeout(5): await job`` ends a job that takes longer. To stop waiting and leave the job alone,
``await asyncio.shield(job.result())``. Cancelling a task that awaits anything else drops the answer only.

*Threads.* One per client, which receives; see :mod:`stoker.aio.awaiting`. Connecting is done in another one.
"""

from stoker.aio.client import Client
from stoker.aio.job import Job, KeptJob
from stoker.aio.submitter import Submitter

__all__ = ["Client", "Job", "KeptJob", "Submitter"]
