"""Whatever the text: no crash, verbatim quotes, the same result each time, and no report changes another."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from radpipe.errors import StructureError
from radpipe.observation import StructuredReport
from radpipe.structure import choose_lexicon, lexicon_names, open_lexicon, structure_report
from radpipe.structure.phrases import Phrases
from radpipe.structure.text import parts, sentences

VOCABULARY = """
no not without the a in of with and or , . ; : / ( ) - 1 2. 8 mm cm x left right bilateral small large mild stable new
unchanged resolved increased possible may represent cannot exclude consistent due to effusion pneumothorax opacity
atelectasis heart size normal enlarged lungs clear is are has tip PICC fracture T10 nodule recommend CT months Dr. XXXX
FINDINGS: IMPRESSION: INDICATION: RECOMMENDATION: COMPARISON: if fever history but
"""
WORDS = [*VOCABULARY.split(), "\n", "\u200f", "\x00"]
PROSE = st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)


def verbatim(report: StructuredReport) -> bool:
    spans = [observation.span for observation in report.observations]
    spans += [mention.span for observation in report.observations for mention in observation.mentions]
    spans += [item.span for item in report.recommendations] + [item.span for item in report.communications]
    return all(report.text[span.start : span.end] == span.quote and span.quote for span in spans)


@given(st.one_of(st.text(max_size=400), PROSE))
@example("")
@example("\ufeff\u202eNo effusion\u202c")
@example("(" * 500 + "effusion" + ")" * 500)
@example("No \x00 effusion \ud800 seen")
@example("effusion or " * 300)
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_and_every_quote_is_verbatim(text: str) -> None:
    for name in lexicon_names():
        assert verbatim(structure_report("r", text, open_lexicon(name)))


@given(PROSE, PROSE)
@settings(max_examples=200, deadline=None)
def test_a_report_read_after_another_is_read_the_same(first: str, second: str) -> None:
    chest = open_lexicon("chest")
    for remembered in (chest.memory, chest.idle):
        remembered.clear()
    alone = structure_report("r", first, chest)
    for remembered in (chest.memory, chest.idle):
        remembered.clear()
    structure_report("other", second, chest)
    assert structure_report("r", first, chest) == alone
    assert structure_report("r", first, chest) == alone


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_sections_and_sentences_lie_within_the_text_in_order(text: str) -> None:
    spans = parts(text)
    assert all(0 <= span.start <= span.end <= len(text) for span in spans)
    assert all(before.end <= after.start for before, after in itertools.pairwise(spans))
    words = [place for sentence in sentences(text, spans) for place in zip(sentence.starts, sentence.ends, strict=True)]
    assert words == sorted(words)


def test_the_time_grows_as_the_text_does_and_not_faster() -> None:
    """Not a benchmark: a quadratic step would take hundreds of times as long here."""
    chest = open_lexicon("chest")
    for unit in (
        "effusion or ",
        "no effusion and pneumothorax, ",
        "a",
        "\n",
        "1. ",
        "FINDINGS: ",
        "FINDINGS:\n",
        "Findings:\nx\n",
        "right opacity with ",
    ):
        seconds = []
        for size in (20_000, 200_000):
            begin = time.process_time()
            structure_report("r", (unit * size)[:size], chest)
            seconds.append(time.process_time() - begin)
        assert seconds[1] < 40 * max(seconds[0], 0.02), unit


def test_the_words_of_a_text_choose_its_lexicon() -> None:
    assert choose_lexicon("CT head without contrast. No acute intracranial hemorrhage. Ventricles are normal.") == "head_ct"
    assert choose_lexicon("Heart size normal. Lungs clear.") == "chest"
    assert choose_lexicon("") == "chest"


def test_an_unknown_lexicon_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(StructureError, match="choose chest, head_ct or a folder"):
        open_lexicon("knee")


@pytest.mark.parametrize("phrase", ["(a|b", "a)", "?", "", "a?", "{nothing}", "_ a"])
def test_a_phrase_that_cannot_be_read_is_refused(phrase: str) -> None:
    def use() -> None:
        phrases: Phrases[str] = Phrases()
        phrases.add(phrase, "x")
        list(phrases.matches(["a"]))

    with pytest.raises(StructureError):
        use()


@given(st.lists(st.sampled_from("abcd"), max_size=30))
def test_phrases_find_what_a_plain_search_finds(words: list[str]) -> None:
    phrases: Phrases[str] = Phrases()
    wanted = {"a b": ["a", "b"], "b c d": ["b", "c", "d"], "c": ["c"]}
    for phrase in wanted:
        phrases.add(phrase, phrase)
    expected, at = [], 0
    while at < len(words):
        here = [p for p, sequence in wanted.items() if words[at : at + len(sequence)] == sequence]
        longest = max(here, key=lambda p: len(wanted[p]), default=None)
        if longest is None:
            at += 1
            continue
        expected.append((at, at + len(wanted[longest]), (longest,)))
        at += len(wanted[longest])
    assert list(phrases.matches(words)) == expected


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("lexicon.toml", 'version = "1"\ntitle = "Knee"\norder = ["x"]', "needs name"),
        ("lexicon.toml", "not toml at all", "cannot be read as TOML"),
        ("x.toml", 'finding = "x"\ncode = "SCT:1"\nmeaning = "X"\nterms = [3]', "between quotation marks"),
        ("x.toml", 'finding = "x"\ncode = "one"\nmeaning = "X"', "SCHEME:VALUE"),
        ("x.toml", 'finding = "x"\ncode = "SCT:1"\nmeaning = "X"\nterm = ["x"]\nphrases = []', "unknown phrases"),
        ("x.toml", 'finding = "x"\ncode = "SCT:1"\nmeaning = "X"\nterms = ["a (b"]', "bracket"),
    ],
)
def test_a_site_lexicon_that_cannot_be_read_is_refused_by_name(tmp_path: Path, file: str, content: str, reason: str) -> None:
    (tmp_path / "lexicon.toml").write_text('name = "knee"\nversion = "1"\ntitle = "Knee"\norder = ["x"]')
    (tmp_path / "x.toml").write_text('finding = "x"\ncode = "SCT:1"\nmeaning = "X"\nterms = ["x"]')
    assert open_lexicon(str(tmp_path)).name == "knee"
    open_lexicon.cache_clear()
    (tmp_path / file).write_text(content)
    with pytest.raises(StructureError, match=reason):
        open_lexicon(str(tmp_path))
