"""An OpenAI-compatible chat endpoint (POST .../chat/completions): llama.cpp's server, vLLM, Ollama, a hospital's own.

Reports are patients' data, so the door is narrow: one address, which the site sets; https or this machine itself;
no redirect is followed, no proxy of the environment is used, and no word of an answer is quoted in a message.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from radpipe.errors import BackendUnavailable, SettingsError
from radpipe.language.prompt import Question, messages

_LARGEST_BODY = 1024 * 1024  # bytes: the answer with what servers put around it
_MOST_TOKENS = 2048
_SETTING = "RADPIPE_LANGUAGE_URL"


class OpenAIEndpoint:
    """One model behind one address. Raises SettingsError for an address that may not be used."""

    def __init__(self, url: str, model: str, *, api_key: str = "", timeout_s: float = 60, insecure: bool = False) -> None:
        if not url.isprintable() or " " in url or not url.isascii():
            raise SettingsError(f"{_SETTING} has a space or a sign that no address has")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SettingsError(f"{_SETTING} is not an address: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{_SETTING} must begin with https:// or http:// and name a host")
        if parts.username is not None or parts.password is not None:
            raise SettingsError(f"{_SETTING} holds a user name or password; use RADPIPE_LANGUAGE_API_KEY")
        if not model:
            raise SettingsError("RADPIPE_LANGUAGE_MODEL must name the model to ask at RADPIPE_LANGUAGE_URL")
        if not re.fullmatch(r"[!-~]*", api_key):
            raise SettingsError("RADPIPE_LANGUAGE_API_KEY has a space or a sign that no key has")
        self._secure = parts.scheme == "https"
        self._only_loopback = not self._secure and not insecure
        if self._only_loopback and not _names_this_machine(parts.hostname):
            raise SettingsError(
                f"{_SETTING} would send reports unencrypted to {parts.hostname}; "
                "use https, or set RADPIPE_LANGUAGE_INSECURE=1"
            )
        self._host, self._port = parts.hostname, port or (443 if self._secure else 80)
        path = parts.path.rstrip("/")
        self._target = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
        if parts.query:
            self._target += f"?{parts.query}"
        self._model, self._api_key, self._timeout_s = model, api_key, timeout_s
        shown_host = f"[{self._host}]" if ":" in self._host else self._host
        self._where = f"{parts.scheme}://{shown_host}:{self._port}{path}"

    @property
    def name(self) -> str:
        return self._model

    @property
    def where(self) -> str:
        return self._where

    def __repr__(self) -> str:
        return f"OpenAIEndpoint({self._where!r}, {self._model!r})"

    def propose(self, question: Question) -> str:
        """The model's words. Raises BackendUnavailable when there is no whole answer in time, or none that can be read."""
        request = {"model": self._model, "messages": messages(question), "temperature": 0, "stream": False,
                   "max_tokens": _MOST_TOKENS}  # fmt: skip
        return self._content(self._post(json.dumps(request).encode()))

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "radpipe"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        connection = self._connection()
        late = threading.Event()

        def stop() -> None:  # a socket's own time-out starts anew with every byte; this one does not
            late.set()
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

        watch = threading.Timer(self._timeout_s, stop)
        watch.daemon = True
        watch.start()
        try:
            connection.connect()
            if late.is_set():
                raise self._late()
            if self._only_loopback and not _is_loopback(connection.sock.getpeername()[0]):
                raise SettingsError(f"{self._host} in {_SETTING} is not this machine; nothing was sent")
            connection.request("POST", self._target, body, headers)
            response = connection.getresponse()
            status = response.status
            answer = response.read(_LARGEST_BODY + 1) if status == 200 else b""
        except TimeoutError as error:
            raise self._late() from error
        except ssl.SSLCertVerificationError as error:
            raise BackendUnavailable(f"{self._where}: its certificate is not trusted; nothing was sent") from error
        except (OSError, http.client.HTTPException) as error:
            if late.is_set():
                raise self._late() from error
            raise BackendUnavailable(f"{self._where} gave no answer: {_cause(error)}; is the model running?") from error
        finally:
            watch.cancel()
            connection.close()
        if late.is_set():
            raise self._late()
        if 300 <= status < 400:
            raise BackendUnavailable(
                f"{self._where} answered with a redirect ({status}), which is never followed; "
                f"set {_SETTING} to the address itself"
            )
        if status != 200:
            raise BackendUnavailable(f"{self._where} answered with status {status}{_HINTS.get(status, '')}")
        if len(answer) > _LARGEST_BODY:
            raise BackendUnavailable(f"the answer of {self._where} is larger than {_LARGEST_BODY} bytes; it was not read")
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def _late(self) -> BackendUnavailable:
        limit = f"{self._timeout_s:g} s (RADPIPE_LANGUAGE_TIMEOUT_S)"
        return BackendUnavailable(f"{self._where} gave no whole answer in {limit}")

    def _content(self, body: bytes) -> str:
        try:
            answer: Any = json.loads(body)
            content = answer["choices"][0]["message"]["content"]
        except (ValueError, RecursionError, LookupError, TypeError) as error:
            raise BackendUnavailable(f"the answer of {self._where} is not that of a chat-completions endpoint") from error
        if not isinstance(content, str):
            raise BackendUnavailable(f"the answer of {self._where} has no text")
        return content


_HINTS = {
    401: ": it wants a key (RADPIPE_LANGUAGE_API_KEY)", 403: ": it refuses the key (RADPIPE_LANGUAGE_API_KEY)",
    404: ": no such path or model; the address usually ends in /v1", 429: ": too many requests",
}  # fmt: skip


def _names_this_machine(host: str) -> bool:
    return host == "localhost" or _is_loopback(host)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _cause(error: Exception) -> str:
    """Ours or the system's words, never the other side's."""
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
