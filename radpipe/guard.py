"""The one place where any exception is caught: a fault of ours on one file or study never stops the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

LOG = logging.getLogger("radpipe")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of ours on one file or study: it is set aside with this reason, the others go on, the next run tries again."""

    reason: str


def guarded(name: str, step: Callable[[], Result]) -> Result | Fault:
    """The one place where any exception is caught. `name`: a file or study key, for the log."""
    try:
        return step()
    except Exception as error:
        LOG.exception("%s: a fault of radpipe", name)
        return Fault(f"radpipe failed on this ({type(error).__name__}): look at it by hand and report the log to us")
