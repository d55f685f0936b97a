"""A GGUF file, run on this machine by llama.cpp (package llama-cpp-python, MIT; not among radpipe's dependencies)."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.language.prompt import Question, messages

_CONTEXT_TOKENS = 16384
_MOST_TOKENS = 2048
_LONGEST_ANSWER = 256 * 1024  # characters


class LlamaFile:
    """A loaded model. Raises BackendUnavailable without llama.cpp, WeightsError for a file that it cannot load."""

    def __init__(self, file: Path, *, timeout_s: float = 60) -> None:
        if not file.is_file():
            raise WeightsError(f"no file {file} (RADPIPE_LANGUAGE_FILE)")
        try:
            library = importlib.import_module("llama_cpp")
        except (ImportError, OSError, RuntimeError) as error:  # it may be installed, but not load its library
            raise BackendUnavailable(
                f"llama.cpp is not here ({type(error).__name__}); install it with `pip install llama-cpp-python`, "
                "or set RADPIPE_LANGUAGE_URL to a server"
            ) from error
        try:
            self._llama: Any = library.Llama(model_path=str(file), n_ctx=_CONTEXT_TOKENS, seed=0, verbose=False)
        except (ValueError, RuntimeError, OSError, AssertionError) as error:
            raise WeightsError(f"llama.cpp cannot load {file.name}; is it a GGUF chat model?") from error
        self._file, self._timeout_s = file, timeout_s

    @property
    def name(self) -> str:
        return self._file.stem

    @property
    def where(self) -> str:
        return f"this machine ({self._file.name})"

    def propose(self, question: Question) -> str:
        """The model's words. Raises BackendUnavailable when they take too long, are too many or cannot be had.

        The clock is looked at between two tokens: reading the report itself is not interrupted.
        """
        deadline = time.monotonic() + self._timeout_s
        pieces: list[str] = []
        length = 0
        try:
            stream = self._llama.create_chat_completion(
                messages=messages(question), temperature=0.0, max_tokens=_MOST_TOKENS, stream=True
            )
            for chunk in stream:
                if time.monotonic() > deadline:
                    raise BackendUnavailable(
                        f"{self._file.name} gave no whole answer in {self._timeout_s:g} s (RADPIPE_LANGUAGE_TIMEOUT_S)"
                    )
                piece = chunk["choices"][0]["delta"].get("content") or ""
                length += len(piece)
                if length > _LONGEST_ANSWER:
                    raise BackendUnavailable(f"the answer of {self._file.name} has more than {_LONGEST_ANSWER} characters")
                pieces.append(piece)
        except (ValueError, RuntimeError, LookupError, AttributeError, TypeError) as error:  # too long a report among them
            raise BackendUnavailable(f"{self._file.name} could not answer ({type(error).__name__})") from error
        return "".join(pieces)
