"""Values go into the store and come out equal."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpipe.errors import StoreError
from radpipe.finding import Change, Evidence, Finding, Measurement, Priority
from radpipe.reading import Reading
from radpipe.report import Correction, Person, Report, Sentence, Verdict
from radpipe.store import codec
from radpipe.study import FileRef, Image, Patient, SetAside, Study
from tests.store_cases import RADIOLOGIST, reading, study

_zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_far = timedelta(days=1)
st.register_type_strategy(
    datetime, st.datetimes(datetime.min + _far, datetime.max - _far, timezones=st.one_of(st.just(UTC), _zones))
)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(
    Path,
    st.one_of(
        st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1).map(Path),
        st.just(Path(b"R\xf6ntgen.dcm".decode("utf-8", "surrogateescape"))),
    ),
)
_some_evidence = st.lists(st.from_type(Evidence), min_size=1, max_size=2).map(tuple)
_words = st.text(min_size=1).filter(str.strip)
_evidence_of_change = st.builds(Evidence, prior_sop_instance_uid=_words)
st.register_type_strategy(Finding, st.builds(Finding, evidence=_some_evidence))
st.register_type_strategy(
    Sentence,
    st.one_of(
        st.builds(Sentence, text=_words, evidence=_some_evidence, change=st.none()),
        st.builds(Sentence, text=_words, evidence=st.tuples(_evidence_of_change)),
    ),
)
st.register_type_strategy(Change, st.builds(Change, current_sop_instance_uid=_words, prior_sop_instance_uid=_words))
st.register_type_strategy(Priority, st.builds(Priority, reasons=st.lists(st.text(), min_size=1, max_size=2).map(tuple)))


@given(st.from_type(Study))
@settings(max_examples=60, deadline=None)
def test_any_study_comes_back_equal(value: Study) -> None:
    assert codec.decode(Study, codec.encode(value)) == value


@given(st.from_type(Report))
@settings(max_examples=60, deadline=None)
def test_any_report_comes_back_equal(value: Report) -> None:
    assert codec.decode(Report, codec.encode(value)) == value


@given(st.from_type(Reading))
@settings(max_examples=30, deadline=None)
def test_any_reading_comes_back_equal_and_has_one_document(value: Reading) -> None:
    document = codec.encode(value)
    again = codec.decode(Reading, document)
    assert again == value
    assert codec.encode(again) == document


def test_a_real_reading_comes_back_equal_with_its_types() -> None:
    value = reading()
    again = codec.decode(Reading, codec.encode(value))
    assert again == value
    assert type(again.study.images[0].file.path) is type(value.study.images[0].file.path)
    assert type(again.study.study_date) is date
    assert type(again.study.study_time) is time
    assert isinstance(again.findings, tuple)


def test_unknown_fields_of_a_newer_radpipe_are_passed_over() -> None:
    document = json.loads(codec.encode(study()))
    document["weather"] = "rain"
    document["images"][0]["dose"] = {"value": 1}
    assert codec.decode(Study, json.dumps(document)) == study()


def test_fields_that_an_older_radpipe_did_not_know_take_their_default() -> None:
    document = json.loads(codec.encode(study()))
    del document["images"][0]["view"]
    assert codec.decode(Study, json.dumps(document)).images[0].view is None


def test_a_document_that_lacks_a_needed_field_names_it_and_no_value() -> None:
    document = json.loads(codec.encode(Patient("PHANTOM-1", patient_name="Testperson^Asa")))
    del document["patient_id"]
    with pytest.raises(StoreError, match="Patient lacks patient_id") as caught:
        codec.decode(Patient, json.dumps(document))
    assert "Testperson" not in str(caught.value)


def test_a_sentence_without_evidence_cannot_come_out_of_the_store() -> None:
    with pytest.raises(StoreError, match="no evidence"):
        codec.decode(Sentence, '{"text":"Normal.","evidence":[]}')


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    with pytest.raises(StoreError, match="value: the number is not finite"):
        codec.encode(Measurement("height", number, "mm", "box"))


def test_a_timestamp_without_time_zone_is_refused() -> None:
    naive = datetime(2026, 1, 31, 8, 0)
    with pytest.raises(StoreError, match="at: the timestamp has no time zone"):
        codec.encode(Correction("mass", Verdict.ACCEPTED, RADIOLOGIST, naive))


def test_a_value_of_the_wrong_kind_is_refused_by_field_name() -> None:
    wrong = dataclasses.replace(study().images[0], rows="2140")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="rows: int expected, str found") as caught:
        codec.encode(wrong)
    assert "2140" not in str(caught.value)


def test_numbers_of_numpy_are_kept_as_plain_numbers() -> None:
    evidence = Evidence("1.2", score=np.float32(0.1), box_px=(np.int64(1), 2, 3, 4))  # type: ignore[arg-type]
    again = codec.decode(Evidence, codec.encode(evidence))
    assert again.score == np.float32(0.1)
    assert type(again.score) is float
    assert again.box_px == (1, 2, 3, 4)


def test_a_file_name_that_is_not_utf8_comes_back() -> None:
    ref = FileRef(Path(b"/in/R\xf6ntgen.dcm".decode("utf-8", "surrogateescape")))
    document = codec.encode(ref)
    assert document.isascii()
    assert codec.decode(FileRef, document) == ref


def test_every_stored_class_has_a_converter() -> None:
    for kind in (Study, Reading, Report, Person, SetAside, Correction, Image):
        assert codec._encoder(kind)
        assert codec._decoder(kind)
