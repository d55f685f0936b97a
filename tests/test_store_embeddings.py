"""What a reader saw in each image is kept with the reading, and never mixed between models."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radpipe.errors import StoreError, UnknownKey
from radpipe.reading import Reading
from radpipe.store import SqlStore, open_store
from tests.sample_reading import not_read
from tests.store_cases import key, reading, sqlite_url, study, ticking


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with open_store(sqlite_url(tmp_path), clock=ticking()) as opened:
        yield opened


def vector(seed: int, width: int = 8) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=width)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def model_of(one: Reading) -> str:
    assert one.model is not None
    return one.model.sha256


def by_another_model(one: Reading) -> Reading:
    assert one.model is not None
    return replace(one, model=replace(one.model, sha256="f" * 64))


def image_of(one: Reading) -> str:
    return one.study.images[0].sop_instance_uid


def test_an_embedding_comes_back_in_half_precision(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first, embeddings={image_of(first): vector(1)})
    kept = store.embeddings(model_of(first))
    assert kept.study_keys == (key(),)
    assert kept.run_keys == (first.run_key,)
    assert kept.sop_instance_uids == (image_of(first),)
    np.testing.assert_array_equal(kept.vectors, vector(1).astype(np.float16).astype(np.float32)[None])
    assert not kept.vectors.flags.writeable
    assert (kept.other_models, kept.not_kept) == (0, 0)
    assert list(store.run_embeddings(first.run_key)) == [image_of(first)]


def test_a_reading_without_one_is_saved_as_before_and_counted(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    kept = store.embeddings(model_of(first))
    assert kept.study_keys == ()
    assert kept.vectors.shape == (0, 0)
    assert (kept.other_models, kept.not_kept) == (0, 1)
    assert store.run_embeddings(first.run_key) == {}


def test_it_may_be_added_later_and_once(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    assert store.save_embedding(first.run_key, image_of(first), vector(1))
    assert not store.save_embedding(first.run_key, image_of(first), vector(2))
    np.testing.assert_allclose(store.run_embeddings(first.run_key)[image_of(first)], vector(1), atol=1e-3)
    with pytest.raises(UnknownKey, match="no reading has the run key 404"):
        store.save_embedding("404", image_of(first), vector(1))


def test_reading_and_embedding_are_one_transaction(store: SqlStore) -> None:
    first = reading()
    with pytest.raises(StoreError, match="not a list of finite numbers"):
        store.save_reading(first, embeddings={image_of(first): np.array([1.0, np.nan])})
    assert store.reading(first.run_key) is None
    assert store.run_embeddings(first.run_key) == {}


def test_a_study_that_no_model_read_has_none(store: SqlStore) -> None:
    unread = replace(not_read(), model=None)
    with pytest.raises(StoreError, match="no model made the reading"):
        store.save_reading(unread, embeddings={"2.25.1": vector(1)})


def test_models_are_never_mixed(store: SqlStore) -> None:
    first, second = reading(1), by_another_model(reading(2))
    store.save_reading(first, embeddings={image_of(first): vector(1)})
    store.save_reading(second, embeddings={image_of(second): vector(2, width=16)})
    kept = store.embeddings(model_of(first))
    assert kept.study_keys == (key(1),)
    assert (kept.other_models, kept.not_kept) == (1, 0)
    assert store.embeddings("f" * 64).study_keys == (key(2),)
    assert store.embeddings("0" * 64).other_models == 2


def test_the_newest_run_of_a_study_counts(store: SqlStore) -> None:
    of = study()
    first, again = reading(run="a", of=of), reading(run="b", of=of)
    store.save_reading(first, embeddings={image_of(first): vector(1)})
    store.save_reading(again, embeddings={image_of(again): vector(2)})
    kept = store.embeddings(model_of(first))
    assert kept.run_keys == (again.run_key,)
    third = by_another_model(reading(run="c", of=of))
    store.save_reading(third, embeddings={image_of(third): vector(3)})
    assert store.embeddings(model_of(first)).run_keys == (again.run_key,), "this model's newest, though another's stands"


def test_studies_come_in_order_of_arrival(store: SqlStore) -> None:
    for number in (3, 1, 2):
        one = reading(number)
        store.save_reading(one, embeddings={image_of(one): vector(number)})
    assert store.embeddings(model_of(reading())).study_keys == (key(3), key(1), key(2))


def test_embeddings_are_no_part_of_the_trail(store: SqlStore) -> None:
    first = reading()
    store.save_reading(first)
    head = store.head()
    store.save_embedding(first.run_key, image_of(first), vector(1))
    assert store.head() == head
    assert store.verify(head) == head.count


def test_a_store_of_the_schema_before_gets_the_table_and_keeps_its_readings(tmp_path: Path) -> None:
    first = reading()
    with open_store(sqlite_url(tmp_path)) as store:
        store.save_reading(first)
    with sqlite3.connect(tmp_path / "radpipe.db") as connection:
        connection.execute("DROP TABLE embeddings")
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
    connection.close()
    with open_store(sqlite_url(tmp_path)) as store:
        assert store.reading(first.run_key) == first
        assert store.save_embedding(first.run_key, image_of(first), vector(1))
