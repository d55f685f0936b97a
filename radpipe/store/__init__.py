"""The store room: radpipe's own tables, which are the truth. `open_store(url)` is the door; see `docs/store.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radpipe.store.audit import AuditHead
    from radpipe.store.outbox import Delivery, Queued
    from radpipe.store.reports import WorklistRow
    from radpipe.store.store import SqlStore, open_store

__all__ = ["AuditHead", "Delivery", "Queued", "SqlStore", "WorklistRow", "open_store"]

_HOMES = {
    "AuditHead": "radpipe.store.audit",
    "Delivery": "radpipe.store.outbox",
    "Queued": "radpipe.store.outbox",
    "WorklistRow": "radpipe.store.reports",
    "SqlStore": "radpipe.store.store",
    "open_store": "radpipe.store.store",
}


def __getattr__(name: str) -> object:
    """Load SQLAlchemy (0.25 s) only when the store is really used."""
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
