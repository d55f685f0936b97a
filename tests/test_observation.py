"""Values that say what a report's words say: what they refuse to be."""

from __future__ import annotations

import pytest

from radpipe.codes import finding_words
from radpipe.errors import StructureError
from radpipe.observation import Size, Span
from radpipe.structure import open_lexicon


def test_a_size_without_a_dimension_is_refused() -> None:
    with pytest.raises(StructureError, match="no dimension"):
        Size(())
    with pytest.raises(StructureError, match="no dimension"):
        Size(mm=(), least_mm=4.0)
    assert Size((6.0,), 4.0).mm == (6.0,)


def test_a_span_holds_just_its_quote() -> None:
    for start, end, quote in ((0, 3, "four"), (-1, 3, "four"), (4, 0, "")):
        with pytest.raises(StructureError):
            Span(start, end, quote)


def test_every_finding_of_a_report_has_words() -> None:
    words = {finding: finding_words(finding) for finding in open_lexicon("chest").order}
    assert words["nodule_mass"] == "nodule or mass"
    assert words["degenerative_spine"] == "degenerative change of the spine"
    for name in ("aortic_disease", "support_device", "hilar_enlargement", "mediastinal_widening", "elevated_diaphragm"):
        assert words[name] == name.replace("_", " ")
    assert not [said for said in words.values() if "_" in said]
