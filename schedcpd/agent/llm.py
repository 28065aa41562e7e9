# SPDX-License-Identifier: Apache-2.0
"""One call of a model through litellm. The only module that imports it, and only when asked.

litellm takes seconds to import and some 190 MB, reads `.env` files, may fetch a price list and
retries by itself. All of that is switched off here; what leaves this process is one POST to
the configured model, and what comes back is refused beyond `max_response_bytes`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from schedcpd.agent.answer import SCHEMA, TEXT_MAX
from schedcpd.agent.config import AgentFile
from schedcpd.agent.prompt import Message
from schedcpd.errors import AgentError
from schedcpd.host.untrusted import clean

# Set before litellm is imported. The first two stop its own requests at import; PRODUCTION
# stops it from reading a .env file from the working directory.
SWITCHES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_DONT_SHOW_FEEDBACK_BOX": "True",
    "DISABLE_AIOHTTP_TRANSPORT": "True",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "OTEL_SDK_DISABLED": "true",
}
# All that is kept of the environment: what systemd, the loader, TLS and proxies need.
_KEPT = {
    "PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM",
    "CREDENTIALS_DIRECTORY", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer as text. Token counts are the server's; 0 and 0 when it gave none."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class Model(Protocol):
    @property
    def loading(self) -> bool:
        """Whether it is still getting ready for its first answer."""

    async def complete(self, messages: Sequence[Message], *, timeout_s: float) -> Completion:
        """Raises AgentError with a short reason when there is no answer."""


def scrub(environ: MutableMapping[str, str]) -> None:
    """Leaves nothing in the environment that could steer litellm, and sets every switch."""
    for name in list(environ):
        if name not in _KEPT:
            del environ[name]
    environ.update(SWITCHES)


class LiteLlm:
    """`Model` on litellm. Imports it at the first call, in a thread.

    The import goes on when that call runs out of time, so that a slow machine has it next time.
    """

    def __init__(self, config: AgentFile) -> None:
        self._config = config
        self._import: asyncio.Task[Any] | None = None

    @property
    def loading(self) -> bool:
        return self._import is not None and not self._import.done()

    async def complete(self, messages: Sequence[Message], *, timeout_s: float) -> Completion:
        try:
            async with asyncio.timeout(timeout_s):
                if self._import is None:
                    self._import = asyncio.create_task(asyncio.to_thread(_import, self._config))
                litellm = await asyncio.shield(self._import)
                return await self._call(litellm, messages, timeout_s)
        except TimeoutError as e:
            if self.loading:
                raise AgentError(f"litellm was not imported within {timeout_s:.1f} s") from e
            raise AgentError(f"no answer within {timeout_s:.1f} s") from e

    async def _call(
        self, litellm: Any, messages: Sequence[Message], timeout_s: float
    ) -> Completion:
        config = self._config
        schema = {"name": "workload_intent", "strict": True, "schema": SCHEMA}
        try:
            response = await litellm.acompletion(
                model=config.model,
                messages=[dict(message) for message in messages],
                api_base=config.api_base or None,
                api_key=config.api_key or ("none" if config.api_base else None),
                timeout=timeout_s,
                max_tokens=config.max_tokens,
                temperature=config.temperature,
                seed=config.seed,
                response_format={"type": "json_schema", "json_schema": schema},
                stream=False,
                drop_params=True,
                num_retries=0,
                max_retries=0,
                caching=False,
            )
        except Exception as e:  # each provider's client has a tree of errors of its own
            raise AgentError(reason_of(e)) from e
        return _completion(response)


def reason_of(error: BaseException) -> str:
    """A short cause from an error of litellm, without text that the server chose."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain and len(chain) < 10:
        chain.append(at)
        at = at.__cause__ or at.__context__
    for found in chain:
        if isinstance(found, AgentError):
            return found.message
    status = next((s for e in chain if isinstance(s := getattr(e, "status_code", 0), int) and s), 0)
    name = clean(type(error).__name__, chars=60)
    if name == "Timeout" or any(isinstance(e, TimeoutError) for e in chain):
        return "timeout"
    if name == "APIConnectionError" or any(isinstance(e, OSError) for e in chain):
        return "the model server cannot be reached or hung up"
    if name == "InternalServerError" and any("Connect" in type(e).__name__ for e in chain):
        return "the model server cannot be reached or hung up"
    words = {401: "the API key was refused", 404: "no such model there", 429: "rate limited"}
    return f"{words.get(status, name)}{f' (HTTP {status})' if status else ''}"


def _completion(response: Any) -> Completion:
    try:
        text = response.choices[0].message.content
        usage = getattr(response, "usage", None)
        counts = [getattr(usage, n, 0) for n in ("prompt_tokens", "completion_tokens")]
    except (AttributeError, IndexError, TypeError) as e:
        raise AgentError("the model server's response has no message") from e
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise AgentError("the model server's response has no text")
    tokens = [min(n, 10**9) if isinstance(n, int) and n > 0 else 0 for n in counts]
    return Completion(text[: TEXT_MAX + 1], tokens[0], tokens[1])


def _import(config: AgentFile) -> Any:
    try:
        httpx: Any = importlib.import_module("httpx")
        litellm: Any = importlib.import_module("litellm")
    except ImportError as e:
        raise AgentError(
            f"litellm cannot be imported: {e}", hint="install the package schedcp-agent"
        ) from e
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.disable_aiohttp_transport = True
    for name in ("callbacks", "success_callback", "failure_callback", "input_callback"):
        setattr(litellm, name, [])
    _guard_http(httpx, config)
    return litellm


def _guard_http(httpx: Any, config: AgentFile) -> None:
    """Makes every HTTP exchange of this process obey the configuration, whatever client is used.

    Wraps httpx's transport, on which litellm's clients stand: no host but that of `api_base`
    (when given), no redirects, no compressed bodies (a small one can hide a huge one), and at
    most `max_response_bytes`.
    """
    allowed = urlsplit(config.api_base).hostname
    transport = httpx.AsyncHTTPTransport
    original = transport.handle_async_request

    async def guarded(self: Any, request: Any) -> Any:
        if allowed is not None and request.url.host != allowed:
            raise AgentError("litellm tried to reach a host that is not the configured one")
        request.headers["Accept-Encoding"] = "identity"
        response = await original(self, request)
        problem = ""
        if 300 <= response.status_code < 400:
            problem = f"the model server redirects elsewhere (HTTP {response.status_code})"
        elif response.headers.get("Content-Encoding", "identity") != "identity":
            problem = "the model server sent a compressed answer, unasked"
        if problem:
            await response.aclose()
            raise AgentError(problem)
        response.stream = _capped(httpx, response.stream, config.max_response_bytes)
        return response

    transport.handle_async_request = guarded


def _capped(httpx: Any, stream: Any, at_most: int) -> Any:
    class Capped(httpx.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = at_most
            async for chunk in stream:
                left -= len(chunk)
                if left < 0:
                    raise AgentError(f"the model server sent more than {at_most} bytes")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return Capped()


def scrub_this_process() -> None:
    """`scrub` on this process: called once, before anything can import litellm."""
    scrub(os.environ)
