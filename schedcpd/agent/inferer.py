# SPDX-License-Identifier: Apache-2.0
"""From a workload profile to a validated answer: at most two calls within one deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schedcpd.agent.answer import Answer, AnswerError, parse
from schedcpd.agent.config import AgentFile
from schedcpd.agent.llm import Completion, Model
from schedcpd.agent.prompt import Message, messages, retry_message, size
from schedcpd.errors import AgentError

ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Inference:
    """A valid answer and what it cost, over all attempts."""

    answer: Answer
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    attempts: int


class Inferer:
    """Asks `model`. `clock` is in seconds and only ever grows."""

    def __init__(
        self, config: AgentFile, model: Model, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config, self._model, self._clock = config, model, clock

    async def infer(self, profile: Mapping[str, Any], *, timeout_s: float) -> Inference:
        """Raises AgentError when no valid answer came in time, InvalidArgumentError for a profile.

        A bad answer is asked for once more, if time is left. An absent one (timeout, refusal,
        broken connection) is not: the daemon backs off instead.
        """
        begin = self._clock()
        deadline = begin + min(timeout_s, self._config.timeout_s)
        question = messages(profile, max_bytes=self._config.max_prompt_bytes)
        prompt_tokens = completion_tokens = 0
        problem = ""
        for attempt in range(1, ATTEMPTS + 1):
            left = deadline - self._clock()
            if left <= 0:
                break
            asked = [*question, retry_message(problem)] if problem else question
            completion = await self._model.complete(asked, timeout_s=left)
            spent = _tokens(asked, completion)
            prompt_tokens, completion_tokens = (
                prompt_tokens + spent[0],
                completion_tokens + spent[1],
            )
            try:
                answer = parse(completion.text)
            except AnswerError as e:
                problem = e.message
                continue
            seconds = self._clock() - begin
            return Inference(answer, prompt_tokens, completion_tokens, seconds, attempt)
        raise AgentError(problem or "no time was left to ask")


def _tokens(asked: list[Message], completion: Completion) -> tuple[int, int]:
    """What the server counted; where it counted nothing, bytes, which are never fewer."""
    return (
        completion.prompt_tokens or size(asked),
        completion.completion_tokens or len(completion.text.encode("utf-8", "replace")),
    )
