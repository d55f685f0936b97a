from __future__ import annotations

import re
from dataclasses import replace

import pytest

from radpipe.report import PRELIMINARY, Sentence
from radpipe.sinks import hl7
from tests.sample_reading import (
    STUDY,
    amended,
    not_read,
    not_read_report,
    sample_reading,
    sample_report,
    signed,
)

CASES = {
    "draft": (sample_reading(), sample_report()),
    "final": (sample_reading(), signed(sample_report())),
    "amended": (sample_reading(), amended(signed(sample_report()))),
    "not read": (not_read(), not_read_report()),
}
_UNESCAPED = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\", ".br": "\n"}


def parsed(message: bytes) -> list[list[str]]:
    """Segments as fields by HL7's own numbers (0 is the segment's name), still escaped. Strict about framing."""
    text = message.decode("utf-8")
    assert text.endswith("\r")
    assert "\n" not in text
    segments = []
    for line in text[:-1].split("\r"):
        fields = line.split("|")
        assert re.fullmatch(r"[A-Z][A-Z0-9]{2}", fields[0])
        segments.append([fields[0], "|", *fields[1:]] if fields[0] == "MSH" else fields)
    return segments


def unescaped(value: str) -> str:
    return re.sub(r"\\(\.br|[FSTRE])\\", lambda match: _UNESCAPED[match[1]], value)


def observations(message: bytes, value_type: str) -> list[list[str]]:
    return [segment for segment in parsed(message) if segment[0] == "OBX" and segment[2] == value_type]


@pytest.mark.parametrize("case", CASES)
def test_another_parser_reads_the_message_and_finds_it_valid(case):
    parser = pytest.importorskip("hl7apy.parser", reason="hl7apy is not installed")
    message = hl7.render(*CASES[case]).decode()
    read = parser.parse_message(message, find_groups=True)
    assert read.validate()
    assert read.to_er7().rstrip("\r") == message.rstrip("\r")


def test_the_header_declares_type_version_and_utf_8():
    header = parsed(hl7.render(*CASES["draft"]))[0]
    assert header[2] == "^~\\&"
    assert header[9] == "ORU^R01^ORU_R01"
    assert header[12] == "2.5.1"
    assert header[18] == "UNICODE UTF-8"
    assert len(header[10]) <= 20


@pytest.mark.parametrize(("case", "status"), [("draft", "P"), ("final", "F"), ("amended", "C")])
def test_every_result_carries_the_reports_status(case, status):
    segments = parsed(hl7.render(*CASES[case]))
    assert {segment[11] for segment in segments if segment[0] == "OBX"} == {status}
    assert next(segment for segment in segments if segment[0] == "OBR")[25] == status
    notes = [segment[3] for segment in segments if segment[0] == "NTE"]
    assert notes == ([PRELIMINARY] if status == "P" else [])


def test_one_observation_a_sentence_in_order():
    texts = observations(hl7.render(*CASES["draft"]), "TX")
    assert [unescaped(segment[5]) for segment in texts] == [sentence.text for sentence in sample_report().sentences]
    assert [segment[1] for segment in parsed(hl7.render(*CASES["draft"])) if segment[0] == "OBX"][:3] == ["1", "2", "3"]


def test_one_coded_observation_a_finding_with_its_probability_and_model():
    coded = {segment[3].split("^")[0]: segment for segment in observations(hl7.render(*CASES["draft"]), "CWE")}
    effusion = coded["60046008"]
    assert effusion[3] == "60046008^Pleural effusion^SCT"
    assert effusion[5] == "52101004^Present^SCT"
    assert effusion[8:10] == ["A", "0.9100"]
    assert effusion[18].startswith("3f9ac1d27be0^chest-dinov2s")
    assert coded["233604007"][5] == "82334004^Indeterminate^SCT"
    assert coded["36118008"][5] == "2667000^Absent^SCT"
    sides = [segment for segment in observations(hl7.render(*CASES["draft"]), "CWE") if segment[3].startswith("272741003")]
    assert {segment[4]: segment[5] for segment in sides}["F.pleural_effusion"] == "7771000^Left^SCT"


def test_a_rejected_finding_is_not_sent_as_a_code():
    codes = {segment[3].split("^")[0] for segment in observations(hl7.render(*CASES["final"]), "CWE")}
    assert "233604007" not in codes


def test_the_study_and_the_signer_are_named():
    segments = parsed(hl7.render(*CASES["final"]))
    assert observations(hl7.render(*CASES["final"]), "HD")[0][5] == STUDY
    request = next(segment for segment in segments if segment[0] == "OBR")
    assert request[3] == request[18] == "A2026-000131"
    assert request[32] == "mlindqvist&Lindqvist&Maja"


def test_delimiters_line_ends_and_control_characters_cannot_break_the_message():
    hostile = "50 % | a^b & c~d \\ e\r\nOBX|1|TX|forged\x1b\x00"
    reading = sample_reading(patient_name="O|Neill^M&M~\\^\r\nPID|2")
    report = sample_report()
    first = report.sections[0]
    section = replace(first, sentences=(Sentence(hostile, first.sentences[0].evidence),))
    message = hl7.render(reading, replace(report, sections=(section,)))
    assert [segment[0] for segment in parsed(message)][:6] == ["MSH", "PID", "PV1", "OBR", "NTE", "OBX"]
    assert unescaped(observations(message, "TX")[0][5]) == "50 % | a^b & c~d \\ e\nOBX|1|TX|forged"
    name = parsed(message)[1][5].split("^")
    assert [unescaped(part) for part in name[:3]] == ["O|Neill", "M&M~\\", "PID|2"]


def test_dicoms_prefix_and_suffix_take_hl7s_places():
    message = hl7.render(sample_reading(patient_name="Adams^John Robert^Quincy^Rev.^B.A."), sample_report())
    assert parsed(message)[1][5] == "Adams^John Robert^Quincy^B.A.^Rev."


def test_the_same_version_has_the_same_control_id_and_the_next_another():
    first, again, final = (hl7.render(*CASES[case]) for case in ("draft", "draft", "final"))
    assert first == again
    assert parsed(first)[0][10] != parsed(final)[0][10]
