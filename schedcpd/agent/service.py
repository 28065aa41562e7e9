# SPDX-License-Identifier: Apache-2.0
"""The socket side of sched-agent: `hello` and `infer` of docs/contracts.md, and going when idle."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import time
from collections.abc import Callable
from typing import Any

from schedcpd import __version__
from schedcpd.agent.config import AgentFile
from schedcpd.agent.inferer import Inferer
from schedcpd.agent.llm import Model
from schedcpd.errors import AgentError, BusyError, InvalidArgumentError, SchedcpError
from schedcpd.host.jsonline import Json, Method
from schedcpd.host.untrusted import clean

PROTOCOL = 1
_GRACE_S = 5.0  # beyond its deadline, a call that blocks the whole process ends the process

_logger = logging.getLogger(__name__)


class Service:
    """Answers one `infer` at a time. `reason` says why no model can be asked, "" when one can.

    `hard_stop` arms a timer that ends this process unless it is called again with None: the
    way out when code outside of asyncio's reach (a resolver, a parser) never returns.
    """

    def __init__(
        self,
        config: AgentFile,
        reason: str,
        model: Model,
        *,
        hard_stop: Callable[[float | None], None] | None = None,
    ) -> None:
        self._config, self._reason = config, reason
        self._model, self._inferer = model, Inferer(config, model)
        self._busy = asyncio.Lock()
        self._hard_stop = hard_stop or arm_hard_stop
        self._last_request = time.monotonic()

    def methods(self) -> dict[str, Method]:
        return {
            "hello": Method(self._hello),
            "infer": Method(self._infer, required=frozenset({"profile", "timeout_s"})),
        }

    async def idle(self) -> None:
        """Returns once `idle_exit_s` have passed since the last request, or loading, was over."""
        while True:
            if self._model.loading:
                self._last_request = time.monotonic()
            left = self._last_request + self._config.idle_exit_s - time.monotonic()
            if left <= 0 and not self._busy.locked():
                return
            await asyncio.sleep(min(max(left, 0.1), 1.0))

    async def _hello(self, _params: Json) -> Json:
        self._last_request = time.monotonic()
        return {
            "version": __version__,
            "protocol": PROTOCOL,
            "configured": not self._reason,
            "model": self._config.model,
            "reason": clean(self._reason, chars=500),
            "call_tokens": self._config.call_tokens,
        }

    async def _infer(self, params: Json) -> Json:
        timeout_s = _seconds(params["timeout_s"])
        profile = params["profile"]
        if not isinstance(profile, dict):
            raise InvalidArgumentError("infer: profile: expected an object")
        if self._reason:
            raise AgentError(clean(self._reason, chars=500), hint="see docs/agent.md")
        if self._busy.locked():
            raise BusyError("another workload is being asked about")
        async with self._busy:
            self._hard_stop(min(timeout_s, self._config.timeout_s) + _GRACE_S)
            try:
                found = await self._inferer.infer(profile, timeout_s=timeout_s)
            except SchedcpError as e:
                _logger.warning("no answer: %s", e)
                raise
            finally:
                self._hard_stop(None)
                self._last_request = time.monotonic()
        _logger.info(
            "%s, %d+%d tokens, %d attempt(s), %.1f s",
            found.answer.intent_class,
            found.prompt_tokens,
            found.completion_tokens,
            found.attempts,
            found.seconds,
        )
        return {
            "intent_class": found.answer.intent_class.value,
            "confidence": found.answer.confidence,
            "reason": found.answer.reason,
            "model": self._config.model,
            "prompt_tokens": found.prompt_tokens,
            "completion_tokens": found.completion_tokens,
            "seconds": round(found.seconds, 3),
        }


def arm_hard_stop(seconds: float | None) -> None:
    """faulthandler's timer runs in a thread of C code: it fires even when Python is stuck."""
    if seconds is None:
        faulthandler.cancel_dump_traceback_later()
    else:
        faulthandler.dump_traceback_later(seconds, exit=True)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 600:
        raise InvalidArgumentError("infer: timeout_s: expected seconds, more than 0, at most 600")
    return float(value)
