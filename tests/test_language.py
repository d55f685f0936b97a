"""The language model's door: what is asked, what is answered, and that nothing leaves by another way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from radpipe.errors import BackendUnavailable, ModelError, SettingsError, WeightsError
from radpipe.language import LONGEST_ANSWER, LONGEST_TEXT, FakeLanguageModel, Fuse, Question, ask, open_language_model
from radpipe.language.openai_api import OpenAIEndpoint
from radpipe.language.prompt import messages
from radpipe.settings import load_settings

QUESTION = Question("FINDINGS:\nAzygos lobe. No effusion.", ("pleural_effusion", "azygos_lobe"), ("pleural_effusion",))
SECRET = "sk-not-to-be-seen-anywhere"

Answer = Callable[[BaseHTTPRequestHandler], None]


class Served:
    """A chat-completions server on this machine that keeps what it was sent."""

    def __init__(self, answer: Answer) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                served.seen.append((self.path, dict(self.headers.items()), body))
                answer(self)

            def do_GET(self) -> None:
                served.seen.append((self.path, dict(self.headers.items()), b""))
                self.send_error(404)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # the client hung up, as some tests want it to

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@contextmanager
def serving(answer: Answer) -> Iterator[Served]:
    served = Served(answer)
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.server.shutdown()
        thread.join()
        served.server.server_close()


def replying(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def completion(content: object) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


def test_the_endpoint_is_asked_once_with_the_key_and_its_words_come_back() -> None:
    with serving(replying(completion("[]"))) as served:
        model = open_language_model(url=served.url + "/", model="small", api_key=SECRET)
        assert model is not None
        assert ask(model, QUESTION) == ("[]", "")
    [(path, headers, body)] = served.seen
    assert (path, headers["Authorization"]) == ("/v1/chat/completions", f"Bearer {SECRET}")
    sent = json.loads(body)
    assert (sent["model"], sent["temperature"], sent["stream"]) == ("small", 0, False)
    assert QUESTION.text in sent["messages"][-1]["content"]


def test_without_an_address_or_a_file_there_is_no_model() -> None:
    assert open_language_model() is None
    assert open_language_model(model="small", api_key=SECRET) is None


def test_the_prompt_offers_only_what_is_missing_and_puts_the_report_last() -> None:
    system, user = (message["content"] for message in messages(QUESTION))
    assert "Findings that may be named: azygos_lobe\n" in user
    assert user.endswith(f"<report>\n{QUESTION.text}\n</report>")
    assert QUESTION.text not in system
    assert "not_comparable" not in system


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (replying(b"", 500), "status 500"),
        (replying(b"", 401), "status 401: it wants a key"),
        (replying(b"<html>sign in</html>"), "not that of a chat-completions endpoint"),
        (replying(b"[" * 200_000), "not that of a chat-completions endpoint"),
        (replying(b"\xff\xfe\x00"), "not that of a chat-completions endpoint"),
        (replying(b'{"choices": []}'), "not that of a chat-completions endpoint"),
        (replying(b'{"choices": 1}'), "not that of a chat-completions endpoint"),
        (replying(completion(None)), "has no text"),
        (replying(completion("x" * (LONGEST_ANSWER + 1))), "more than"),
        (replying(b" " * 2_000_000), "larger than 1048576 bytes"),
        (lambda handler: handler.close_connection and None, "gave no answer"),
        (lambda handler: handler.wfile.write(b"not http at all\r\n\r\n") and None, "gave no answer"),
    ],
)
def test_an_answer_that_cannot_be_read_is_none_and_says_why(answer: Answer, says: str) -> None:
    with serving(answer) as served:
        content, why_not = ask(OpenAIEndpoint(served.url, "small", api_key=SECRET), QUESTION)
    assert content == ""
    assert says in why_not
    assert SECRET not in why_not
    assert "sign in" not in why_not


def test_a_redirect_is_never_followed_with_the_text() -> None:
    with serving(replying(completion("[]"))) as other:
        for status in (301, 302, 303, 307, 308):
            with serving(replying(b"", status, Location=f"{other.url}/chat/completions")) as served:
                content, why_not = ask(OpenAIEndpoint(served.url, "small", api_key=SECRET), QUESTION)
            assert (content, f"redirect ({status})" in why_not) == ("", True)
    assert other.seen == []


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(replying(completion("[]"))) as proxy, serving(replying(completion("[1]"))) as served:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert ask(OpenAIEndpoint(served.url, "small"), QUESTION) == ("[1]", "")
    assert proxy.seen == []


def test_a_slow_answer_is_given_up_after_the_whole_time_even_if_it_drips() -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        for _ in range(50):
            handler.wfile.write(b"X-Wait: a\r\n")
            handler.wfile.flush()
            time.sleep(0.1)

    with serving(drip) as served:
        began = time.monotonic()
        content, why_not = ask(OpenAIEndpoint(served.url, "small", timeout_s=0.4), QUESTION)
        took = time.monotonic() - began
    assert (content, "no whole answer in 0.4 s" in why_not) == ("", True)
    assert took < 2


def test_a_server_that_never_answers_is_given_up() -> None:
    with serving(lambda handler: time.sleep(1.5)) as served:
        content, why_not = ask(OpenAIEndpoint(served.url, "small", timeout_s=0.3), QUESTION)
    assert (content, "no whole answer in 0.3 s" in why_not) == ("", True)


def test_nobody_there_is_said_with_what_to_do() -> None:
    with serving(replying(b"")) as served:
        url = served.url
    content, why_not = ask(OpenAIEndpoint(url, "small"), QUESTION)
    assert content == ""
    assert "is the model running?" in why_not


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://llm.example/v1", "unencrypted to llm.example; use https, or set RADPIPE_LANGUAGE_INSECURE=1"),
        ("http://localhost.example/v1", "unencrypted"),
        ("http://127.0.0.1.example/v1", "unencrypted"),
        ("http://10.0.0.5/v1", "unencrypted"),
        ("ftp://127.0.0.1/v1", "must begin with https"),
        ("file:///etc/passwd", "must begin with https"),
        ("127.0.0.1:8080", "must begin with https"),
        ("https://", "name a host"),
        ("https://user:word@llm.example/v1", "holds a user name or password"),
        ("https://llm.example:99999/v1", "is not an address"),
        ("https://llm.example/v1\r\nX: y", "a space or a sign"),
    ],
)
def test_an_address_that_could_leak_is_refused_before_anything_is_sent(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        open_language_model(url=url, model="small")
    assert "word" not in str(caught.value).replace("user name or password", "")


def test_https_a_loopback_address_or_the_express_wish_are_taken() -> None:
    for url, insecure in (("https://llm.example/v1", False), ("http://[::1]:80/v1", False), ("http://10.0.0.5/v1", True)):
        model = open_language_model(url=url, model="small", insecure=insecure)
        assert model is not None
        assert model.where.startswith(url.partition(":")[0])


def test_a_key_that_could_split_a_header_and_a_missing_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="LANGUAGE_API_KEY has a space") as caught:
        open_language_model(url="https://llm.example/v1", model="small", api_key="a\r\nb")
    assert "a\r" not in str(caught.value)
    with pytest.raises(SettingsError, match="LANGUAGE_MODEL must name"):
        open_language_model(url="https://llm.example/v1")
    with pytest.raises(SettingsError, match="both set"):
        open_language_model(url="https://llm.example/v1", model="small", file=Path("model.gguf"))


def test_the_key_is_seen_in_no_repr() -> None:
    settings = load_settings(environ={"RADPIPE_LANGUAGE_API_KEY": SECRET, "RADPIPE_LANGUAGE_URL": "https://llm.example/v1"})
    assert settings.language_api_key == SECRET
    assert SECRET not in repr(settings)
    assert SECRET not in repr(OpenAIEndpoint("https://llm.example/v1", "small", api_key=SECRET))


@pytest.mark.parametrize(
    ("name", "value"), [("TIMEOUT_S", "0"), ("TIMEOUT_S", "soon"), ("INSECURE", "2"), ("INSECURE", "true"), ("URI", "x")]
)
def test_settings_of_the_model_are_checked(name: str, value: str) -> None:
    with pytest.raises(SettingsError):
        load_settings(environ={f"RADPIPE_LANGUAGE_{name}": value})


def test_a_long_or_empty_report_is_not_put_to_the_model() -> None:
    def never(question: Question) -> str:
        raise AssertionError("it was asked")

    for text, says in (("x" * (LONGEST_TEXT + 1), "more than"), (" \n", "states nothing")):
        content, why_not = ask(FakeLanguageModel(never), Question(text, ()))
        assert (content, says in why_not) == ("", True)


def test_a_model_that_fails_changes_nothing_and_says_why() -> None:
    def fails(question: Question) -> str:
        raise ModelError("the model is out")

    assert ask(FakeLanguageModel(fails), QUESTION) == ("", "the model is out")
    assert ask(FakeLanguageModel(lambda question: question.missing[0]), QUESTION) == ("azygos_lobe", "")


def test_a_model_that_fails_again_and_again_is_asked_no_more() -> None:
    asked: list[Question] = []

    def fails(question: Question) -> str:
        asked.append(question)
        raise BackendUnavailable("gone")

    model = Fuse(FakeLanguageModel(fails))
    reasons = [ask(model, QUESTION)[1] for _ in range(5)]
    assert reasons == ["gone"] * 3 + ["fake is asked no more after 3 failures in a row"] * 2
    assert len(asked) == 3


def test_one_good_answer_between_failures_keeps_the_model_in_use() -> None:
    answers = iter(["", "", "[]", "", "", "[]"])

    def answer(question: Question) -> str:
        words = next(answers)
        if not words:
            raise BackendUnavailable("busy")
        return words

    model = Fuse(FakeLanguageModel(answer))
    assert [ask(model, QUESTION)[0] for _ in range(6)] == ["", "", "[]", "", "", "[]"]


def test_a_file_without_llama_cpp_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="no file"):
        open_language_model(file=tmp_path / "model.gguf")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "llama_cpp.py").write_text("raise ImportError('not here')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendUnavailable, match="pip install llama-cpp-python"):
        open_language_model(file=tmp_path / "model.gguf")


STAND_IN = """
import time
from pathlib import Path
class Llama:
    def __init__(self, model_path, n_ctx, seed, verbose):
        if Path(model_path).read_bytes()[:4] != b"GGUF":
            raise ValueError("Failed to load model from file: " + model_path)
    def create_chat_completion(self, messages, temperature, max_tokens, stream):
        if "too long" in messages[-1]["content"]:
            raise ValueError("Requested tokens exceed context window")
        yield {"choices": [{"delta": {"role": "assistant"}}]}
        for piece in ("[", "]"):
            time.sleep(0.05)
            yield {"choices": [{"delta": {"content": piece}}]}
        yield {"choices": [{"delta": {}}]}
"""


def test_a_file_is_asked_through_llama_cpp_with_the_same_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in of the library's interface; the real one is no dependency."""
    (tmp_path / "llama_cpp.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    (tmp_path / "broken.gguf").write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"cannot load broken\.gguf"):
        open_language_model(file=tmp_path / "broken.gguf")
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    model = open_language_model(file=tmp_path / "tiny.gguf")
    assert model is not None
    assert (model.name, model.where) == ("tiny", "this machine (tiny.gguf)")
    assert ask(model, QUESTION) == ("[]", "")
    content, why_not = ask(model, Question("too long", ("x",)))
    assert (content, "could not answer (ValueError)" in why_not) == ("", True)
    slow = open_language_model(file=tmp_path / "tiny.gguf", timeout_s=0.01)
    assert slow is not None
    assert "no whole answer in 0.01 s" in ask(slow, QUESTION)[1]


def structure_by_command(text: str, tmp_path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "report.txt").write_text(text, encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RADPIPE_")}
    command = [sys.executable, "-m", "radpipe", "structure", str(tmp_path / "report.txt"), *options]
    return subprocess.run(command, capture_output=True, text=True, env={**clean, **environment}, timeout=60)


REPORT = "INDICATION: Secret indication.\nFINDINGS: The stomach has slid up into the chest. No effusion.\n"


def test_the_command_adds_what_the_text_bears_and_names_what_it_refused(tmp_path: Path) -> None:
    said = [
        {"finding": "hiatal_hernia", "status": "present", "quote": "stomach has slid up into the chest"},
        {"finding": "pneumonia", "status": "present", "quote": "pneumonia"},
    ]
    with serving(replying(completion(json.dumps(said)))) as served:
        settings = {"RADPIPE_LANGUAGE_URL": served.url, "RADPIPE_LANGUAGE_MODEL": "tiny", "RADPIPE_LANGUAGE_API_KEY": SECRET}
        done = structure_by_command(REPORT, tmp_path, "--propose", **settings)
    assert done.returncode == 0, done.stderr
    found = {one["finding"]: one for one in json.loads(done.stdout)["observations"]}
    assert (found["hiatal_hernia"]["origin"], found["pleural_effusion"]["origin"]) == ("proposed", "rules")
    assert "pneumonia" not in found
    assert "pneumonia refused: its quote is not in the text" in done.stderr
    assert SECRET not in done.stderr + done.stdout
    [(_, _, body)] = served.seen
    assert b"Secret indication" not in body


def test_the_command_asks_nobody_unless_told_to(tmp_path: Path) -> None:
    with serving(replying(completion("[]"))) as served:
        settings = {"RADPIPE_LANGUAGE_URL": served.url, "RADPIPE_LANGUAGE_MODEL": "tiny"}
        assert structure_by_command(REPORT, tmp_path, **settings).returncode == 0
    assert served.seen == []
    done = structure_by_command(REPORT, tmp_path, "--propose")
    assert (done.returncode, "set RADPIPE_LANGUAGE_URL" in done.stderr) == (2, True)
