"""An optional language model that may propose observations which the rules missed. Off unless a site sets one.

A model only ever answers text with text. What of the answer may enter a report is decided by
`radpipe.structure.proposals`, which checks every proposal against the report's own words. Two kinds of model: an
OpenAI-compatible endpoint, whose address the site sets (`openai_api`), and a GGUF file read on this machine
(`llama_cpp`). `FakeLanguageModel` takes a function, for tests and trials. See docs/language-model.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from radpipe.errors import BackendUnavailable, ModelError, SettingsError
from radpipe.language.prompt import Question

LONGEST_TEXT = 40_000
"""Characters of a report that are put to a model; a longer one is not sent."""

LONGEST_ANSWER = 64 * 1024
"""Characters of an answer that are read; more is no answer."""


class LanguageModel(Protocol):
    """A model that can be asked."""

    @property
    def name(self) -> str:
        """Which model, as the site knows it; stands beside whatever it proposed."""
        ...

    @property
    def where(self) -> str:
        """Where the text goes, for people: "this machine (model.gguf)", "https://llm.example:8443/v1"; never a secret."""
        ...

    def propose(self, question: Question) -> str:
        """The raw answer. Raises ModelError when there is none, in time and of a size that can be read."""
        ...


@dataclass(frozen=True, slots=True)
class FakeLanguageModel:
    """Answers with what `answer` makes of the question."""

    answer: Callable[[Question], str]
    name: str = "fake"
    where: str = "this process"

    def propose(self, question: Question) -> str:
        return self.answer(question)


class Fuse:
    """Asks `model` no more after `most` failures in a row: thousands of reports must not wait for a server that is gone."""

    def __init__(self, model: LanguageModel, most: int = 3) -> None:
        self._model, self._most, self._failures = model, most, 0

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def where(self) -> str:
        return self._model.where

    def propose(self, question: Question) -> str:
        """As the model's own. Raises BackendUnavailable, without asking, once the model has failed too often."""
        if self._failures >= self._most:
            raise BackendUnavailable(f"{self.name} is asked no more after {self._most} failures in a row")
        self._failures += 1
        answer = self._model.propose(question)
        self._failures = 0
        return answer


def ask(model: LanguageModel, question: Question) -> tuple[str, str]:
    """(answer, "") or ("", why there is none): a model that fails changes nothing about the report."""
    if len(question.text) > LONGEST_TEXT:
        return "", f"{model.name} was not asked: the report has more than {LONGEST_TEXT} characters"
    if not question.text.strip():
        return "", f"{model.name} was not asked: the report states nothing"
    try:
        answer = model.propose(question)
    except ModelError as error:
        return "", str(error)
    if len(answer) > LONGEST_ANSWER:
        return "", f"the answer of {model.name} has more than {LONGEST_ANSWER} characters; it was not read"
    return answer, ""


def open_language_model(
    *,
    url: str = "",
    model: str = "",
    api_key: str = "",
    timeout_s: float = 60,
    file: Path = Path(""),
    insecure: bool = False,
) -> LanguageModel | None:
    """The model that the settings name, or None if they name none. Nothing is sent or loaded yet but a GGUF file.

    Raises SettingsError for settings that contradict or could leak, BackendUnavailable or WeightsError for a file that
    cannot be used here.
    """
    if url and file != Path(""):
        raise SettingsError("language_url and language_file are both set; keep the one that is to be asked")
    if url:
        from radpipe.language.openai_api import OpenAIEndpoint

        return OpenAIEndpoint(url, model, api_key=api_key, timeout_s=timeout_s, insecure=insecure)
    if file != Path(""):
        from radpipe.language.llama_cpp import LlamaFile

        return LlamaFile(file, timeout_s=timeout_s)
    return None


__all__ = [
    "LONGEST_ANSWER", "LONGEST_TEXT", "FakeLanguageModel", "Fuse", "LanguageModel", "Question", "ask", "open_language_model",
]  # fmt: skip
