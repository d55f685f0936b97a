from __future__ import annotations

import json
from dataclasses import replace

import pytest

from radpipe.report import PRELIMINARY
from radpipe.sinks import json_report, text
from tests.sample_reading import (
    FRONTAL,
    PRIOR_FRONTAL,
    amended,
    not_read,
    not_read_report,
    sample_reading,
    sample_report,
    signed,
)


def test_the_text_holds_every_section_and_sentence_in_order():
    words = " ".join(text.render(sample_reading(), sample_report()).decode().split())
    places = [words.index(section.name.value.upper()) for section in sample_report().sections]
    assert places == sorted(places)
    assert all(sentence.text in words for sentence in sample_report().sentences)


def test_the_text_is_marked_until_it_is_signed_and_then_names_the_signer():
    draft = text.render(sample_reading(), sample_report()).decode()
    assert PRELIMINARY in draft
    assert "Not signed." in draft
    final = text.render(sample_reading(), signed(sample_report())).decode()
    assert PRELIMINARY not in final
    assert "Signed by Maja Lindqvist, Example Hospital, 2026-01-31 08:41 UTC." in final
    assert "Addendum signed by" in text.render(sample_reading(), amended(signed(sample_report()))).decode()


def test_no_line_of_the_text_is_wider_than_a_page_and_none_steers_a_terminal():
    reading = sample_reading(patient_name="Evil^\x1b[2J\x07")
    lines = text.render(reading, sample_report()).decode().splitlines()
    assert max(map(len, lines)) <= 120
    assert all(line.isprintable() for line in lines)


def test_the_json_has_every_sentence_with_all_its_evidence():
    document = json.loads(json_report.render(sample_reading(), sample_report()))
    assert document["preliminary"] is True
    assert document["banner"] == PRELIMINARY
    sentences = [sentence for section in document["sections"] for sentence in section["sentences"]]
    assert len(sentences) == len(sample_report().sentences)
    assert all(sentence["evidence"] for sentence in sentences)
    effusion = next(sentence for sentence in sentences if sentence["finding"] == "pleural_effusion")
    evidence = effusion["evidence"][0]
    assert (effusion["change"], effusion["stance"]) == ("increased", "present")
    assert (evidence["sop_instance_uid"], evidence["prior_sop_instance_uid"]) == (FRONTAL, PRIOR_FRONTAL)
    assert evidence["box_px"] == [1480, 930, 1900, 1560]
    assert evidence["measurement"]["unit"] == "mm"


def test_the_json_tells_the_models_word_from_the_reports():
    document = json.loads(json_report.render(sample_reading(), signed(sample_report())))
    findings = {finding["finding"]: finding for finding in document["findings"]}
    assert (findings["pneumonia"]["decision"], findings["pneumonia"]["stated"]) == ("unsure", None)
    assert findings["pleural_effusion"]["stated"] == "present"
    assert document["corrections"][1]["verdict"] == "rejected"
    assert document["signed_by"]["name"] == "Lindqvist^Maja"


def test_the_json_is_the_same_each_time_and_its_keys_keep_their_order():
    first = json_report.render(sample_reading(), sample_report())
    assert first == json_report.render(sample_reading(), sample_report())
    assert list(json.loads(first))[:5] == ["report_key", "version", "status", "preliminary", "banner"]


def test_a_study_that_was_not_read_has_both_forms():
    reading = replace(not_read(), read_at=None)
    assert "no model reads a radiograph of the HAND" in text.render(reading, not_read_report()).decode()
    assert json.loads(json_report.render(reading, not_read_report()))["model"] is None


def test_a_value_without_a_json_form_is_a_defect_that_shows():
    with pytest.raises(TypeError, match="complex has no JSON form"):
        json_report.plain(1j)
