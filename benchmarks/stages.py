"""Where a run's time goes: seconds by stage and thread, from stopwatches around the pipeline's own functions.

A profiler sees one thread (cProfile until Python 3.11) or mixes all (from 3.12), and slows small functions most. A
stopwatch costs under a microsecond a call. A stage that was renamed stops the benchmark with an AttributeError: a
stage is never left out in silence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any

from radpipe import compare, dicom, draft, pipeline, prepare, register
from radpipe.store.keep import FolderKeep
from radpipe.store.store import SqlStore

DECODER = "radpipe-decode"
"""How the pipeline names its decode thread."""

# (words, owner, name): stages of one thread follow each other, those that begin with "- " are part of the one above
MAIN: tuple[tuple[str, Any, str], ...] = (
    ("read files and headers, hash, group, enter", pipeline, "ingest"),
    ("plan, look up priors", pipeline, "plan_of"),
    ("wait for the decode thread", Future, "result"),
    ("infer", pipeline, "predict"),
    ("compare with the prior", pipeline, "_prior"),
    ("- register", register, "register"),
    ("changes", compare, "changes"),
    ("draft", draft, "draft"),
    ("save readings", SqlStore, "save_reading"),
    ("keep headers (within reading files) and thumbnails", FolderKeep, "put"),
)
DECODE: tuple[tuple[str, Any, str], ...] = (
    ("all, beside the main thread", pipeline, "prepare"),
    ("- decode to a picture", dicom, "presentation"),
    ("- preprocess", prepare, "model_input"),
    ("- thumbnail", prepare, "thumbnail"),
)

Seconds = dict[str, dict[str, float]]


@contextmanager
def stopwatches() -> Iterator[Seconds]:
    """Seconds by thread ("main", "decode") and stage, filled while the context is open."""
    found: Seconds = {"main": {}, "decode": {}}
    lock = threading.Lock()

    def timed(words: str, where: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                seconds = time.perf_counter() - started
                here = "decode" if threading.current_thread().name.startswith(DECODER) else "main"
                with lock:
                    if here == where:
                        found[where][words] = found[where].get(words, 0.0) + seconds

        return call

    with ExitStack() as undo:
        for where, stages in (("main", MAIN), ("decode", DECODE)):
            for words, owner, name in stages:
                function = getattr(owner, name)
                setattr(owner, name, timed(words, where, function))
                undo.callback(setattr, owner, name, function)
                found[where][words] = 0.0
        yield found
