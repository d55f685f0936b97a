"""A reader's embedding of each image that was read: what similar studies are found by.

Kept in half precision, with the reading and in its transaction. Embeddings of different models cannot be compared, so they
are always asked for by the model's hash. They repeat what the model makes of the image: the audit trail does not cover them.

Axes: N images, D numbers of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, distinct, func, insert, select

from radpipe.errors import StoreError, UnknownKey
from radpipe.store.tables import embeddings, runs, studies

Floats = npt.NDArray[np.float32]

_KIND = np.dtype("<f2")


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What one model saw in each study: of the newest run of the study by it. `study_keys` may repeat: a study may have
    several images."""

    model_sha256: str
    study_keys: tuple[str, ...]  # N
    run_keys: tuple[str, ...]  # N
    sop_instance_uids: tuple[str, ...]  # N
    vectors: Floats  # (N, D), read-only
    other_models: int  # studies that were read by other models only: left out
    not_kept: int  # studies that this model read before embeddings were kept: left out


def keep(connection: Connection, run_key: str, vectors: Mapping[str, npt.NDArray[Any]]) -> int:
    """Keep the embeddings (D,) of a run's images, by SOP Instance UID; how many were new. What is there stays.

    Raises UnknownKey for an unknown run; StoreError if no model made it, or a vector is not of finite numbers.
    """
    row = connection.execute(select(runs.c.model_sha256).where(runs.c.run_key == run_key)).one_or_none()
    if row is None:
        raise UnknownKey(f"no reading has the run key {run_key}")
    if row.model_sha256 is None:
        raise StoreError(f"no model made the reading {run_key}: there is nothing that an embedding could be of")
    of_run = select(embeddings.c.sop_instance_uid).where(embeddings.c.run_key == run_key)
    known = set(connection.execute(of_run).scalars())
    rows = []
    for uid, vector in vectors.items():
        halves = np.asarray(vector).astype(_KIND)
        if halves.ndim != 1 or not halves.size or not np.isfinite(halves).all():
            raise StoreError(f"the embedding of image {uid} is not a list of finite numbers")
        if uid not in known:
            rows.append(
                {
                    "run_key": run_key,
                    "sop_instance_uid": uid,
                    "model_sha256": row.model_sha256,
                    "dims": halves.size,
                    "vector": halves.tobytes(),
                }
            )
    if rows:
        connection.execute(insert(embeddings), rows)
    return len(rows)


def of_run(connection: Connection, run_key: str) -> dict[str, Floats]:
    """The embeddings of one run, by SOP Instance UID; empty if none were kept."""
    query = select(embeddings).where(embeddings.c.run_key == run_key).order_by(embeddings.c.sop_instance_uid)
    return {row.sop_instance_uid: _vector(row.vector) for row in connection.execute(query)}


def of_model(connection: Connection, model_sha256: str) -> Embeddings:
    """Of every study that this model read, in order of arrival."""
    newest = (
        select(runs.c.study_key, func.max(runs.c.sequence).label("sequence"))
        .join(embeddings, embeddings.c.run_key == runs.c.run_key)
        .where(embeddings.c.model_sha256 == model_sha256)
        .group_by(runs.c.study_key)
        .subquery()
    )
    query = (
        select(runs.c.study_key, embeddings)
        .join(runs, runs.c.run_key == embeddings.c.run_key)
        .join(newest, newest.c.sequence == runs.c.sequence)
        .join(studies, studies.c.study_key == runs.c.study_key)
        .where(embeddings.c.model_sha256 == model_sha256)
        .order_by(studies.c.arrival, embeddings.c.sop_instance_uid)
    )
    rows = connection.execute(query).all()
    dims = {row.dims for row in rows}
    if len(dims) > 1:
        raise StoreError(f"embeddings of one model have different lengths ({sorted(dims)}); read the studies again")
    vectors = np.stack([_vector(row.vector) for row in rows]) if rows else np.zeros((0, 0), np.float32)
    vectors.setflags(write=False)
    read = select(func.count(distinct(runs.c.study_key))).where(runs.c.is_read)
    by_this = connection.execute(read.where(runs.c.model_sha256 == model_sha256)).scalar_one()
    by_any = connection.execute(read).scalar_one()
    return Embeddings(
        model_sha256,
        tuple(row.study_key for row in rows),
        tuple(row.run_key for row in rows),
        tuple(row.sop_instance_uid for row in rows),
        vectors,
        other_models=by_any - by_this,
        not_kept=by_this - len({row.study_key for row in rows}),
    )


def _vector(content: bytes) -> Floats:
    vector = np.frombuffer(content, _KIND).astype(np.float32)
    vector.setflags(write=False)
    return vector
