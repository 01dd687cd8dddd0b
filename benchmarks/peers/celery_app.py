"""Celery's application, imported by client and workers."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.peers import tasks

_redis = f"redis+socket://{os.environ['BENCHMARK_REDIS']}?virtual_host="
app = Celery("benchmarks", broker=f"{_redis}0", backend=f"{_redis}1")
app.conf.accept_content = ["json", "pickle"]
app.conf.result_serializer = "pickle"
app.conf.result_expires = 60  # seconds: large results do not pile up
cube = app.task(name="cube")(tasks.cube)
echo = app.task(name="echo", serializer="pickle")(tasks.echo)
add_one = app.task(name="add_one", serializer="pickle")(tasks.add_one)
