"""Flow: drain what is ready. One run reads many studies, in micro-batches; only keys pass between its tasks.

A flow run costs 0.3 to 1.2 s and a plain task call 17 ms on two cores, a mapped task ten times that: so one run, one
task call a micro-batch, no mapping, no results kept by Prefect.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import httpx
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import PrefectException

from radpipe.errors import FlowError
from radpipe.pipeline import Run
from radpipe.reading import Reading


@dataclass(frozen=True, slots=True)
class Job:
    """What one flow run drains: a run that may still be being prepared, and who is told of each reading."""

    run: Future[Run]
    on_reading: Callable[[Reading], None]


_JOBS: dict[str, Job] = {}


def drain(name: str, job: Job) -> int:
    """Run the flow over a job; how many studies it read. `name` is what Prefect's page shows: never a patient's."""
    _JOBS[name] = job
    try:
        return read_studies(name)
    except (httpx.HTTPError, PrefectException, TimeoutError, RuntimeError) as error:
        raise FlowError(
            f"Prefect does not work here ({type(error).__name__}: {error}); what was read is in the store. Check "
            "PREFECT_API_URL if you set it; else remove the folder `prefect` in the store (it holds no truth of ours) and "
            "run again"
        ) from error
    finally:
        del _JOBS[name]


@flow(name="radpipe-read", persist_result=False, validate_parameters=False)
def read_studies(job: str) -> int:
    """Read all studies of a job; how many."""
    total = 0
    while count := read_batch(job):
        total += count
    return total


@task(name="read micro-batch", persist_result=False, cache_policy=NO_CACHE)
def read_batch(job: str) -> int:
    """Read one micro-batch; how many studies it had."""
    readings = _JOBS[job].run.result().read_next()
    for reading in readings:
        _JOBS[job].on_reading(reading)
    return len(readings)
