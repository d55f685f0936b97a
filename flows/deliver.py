"""Flow: deliver what the outbox holds. Signing wrote it; this sends it, once, whatever was killed in between."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from radpipe.store import open_store


@flow(name="radpipe-deliver", persist_result=False)
def deliver(database_url: str, folder: str) -> int:
    """Deliver everything pending; how many files were written."""
    return to_folder(database_url, folder)


@task(name="deliver to folder", retries=3, retry_delay_seconds=[2, 10, 60], persist_result=False, cache_policy=NO_CACHE)
def to_folder(database_url: str, folder: str) -> int:
    """Write pending deliveries into the folder."""
    return open_store(database_url).deliver_to_folder(Path(folder))
