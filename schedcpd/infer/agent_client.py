# SPDX-License-Identifier: Apache-2.0
"""Asks sched-agent about a workload that no rule knows. The daemon's side; never litellm.

Nothing here can hold up or hurt the pipeline: every trouble ends in None, and the rules'
default stands. What a wrong answer can do is bounded by what an answer is: one of five
classes of one workload, none of which starves another (docs/agent.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from schedcpd.config import AgentConfig, Switch
from schedcpd.errors import AgentError, SchedcpError
from schedcpd.host.clock import Clock
from schedcpd.host.jsonline import JsonLineClient
from schedcpd.host.untrusted import clean
from schedcpd.infer.agent_answer import (
    AgentAnswer,
    AgentHello,
    fingerprint,
    profile_to_json,
    read_answer,
    read_hello,
)
from schedcpd.infer.agent_memory import AgentMemory, AnswerCache
from schedcpd.infer.budget import WINDOW_S, Budget, Spent
from schedcpd.model import Intent, LearnedRecord, RecordKind, WorkloadProfile

BACKOFF_FIRST_S = 30.0  # doubled with each failure in a row
BACKOFF_MOST_S = 3600.0
UNCONFIGURED_RETRY_S = 300.0
REFUSED_S = 600.0  # how long a workload without a usable answer is not asked about again
WAITING_MOST = 16  # workloads in the queue; more are left to the default
_MARGIN_S = 0.25  # the agent gives up this much earlier, so that its own reason arrives
_REASONS_MOST = 512

_logger = logging.getLogger(__name__)


class AgentClient:
    """`infer` gives an Intent of a model, or None when the default stands; it never raises.

    `on_record` is told of every call and of every change in why there is none, for history; it
    is called from the loop and must not block. `state` is the file with budget and answers.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        state: Path,
        clock: Clock,
        on_record: Callable[[LearnedRecord], None] = lambda _record: None,
    ) -> None:
        self._config = config
        self._clock, self._on_record = clock, on_record
        self._memory = AgentMemory(state)
        self._budget = Budget(config.calls_per_hour, config.tokens_per_hour)
        self._cache = AnswerCache()
        self._loaded = False
        self._hello: AgentHello | None = None
        self._failures = 0
        self._retry_at = 0.0  # monotonic seconds; before it nothing is tried
        self._trouble = ""  # why nothing can be asked, "" when something can
        self._over_until = 0.0  # unix seconds; inf when a call can never fit
        self._asking = ""
        self._one = asyncio.Lock()
        self._flights: dict[str, asyncio.Task[AgentAnswer | None]] = {}
        self._reasons: OrderedDict[str, str] = OrderedDict()

    @property
    def available(self) -> bool:
        """Whether a model is configured, as far as known: what Status.inference says."""
        return self._config.enabled is not Switch.OFF and bool(
            self._hello and self._hello.configured
        )

    def describe(self) -> str:
        """One sentence for `schedctl status`."""
        if self._config.enabled is Switch.OFF:
            return "disabled in schedcpd.yaml"
        if self._asking:
            return f"asking about {self._asking}"
        now = self._clock.unix_s()
        if self._over_until == math.inf:
            return self._never()
        if self._over_until > now:
            at = time.strftime("%H:%M", time.localtime(math.ceil(self._over_until / 60) * 60))
            return f"over budget until {at}"
        if self._trouble:
            if self._failures:
                left = max(0, math.ceil(self._retry_at - self._now()))
                when = f"next try in {left} s" if left else "to be tried again"
                return f"failing: {self._trouble}, {when}"
            return f"not configured: {self._trouble}"
        if self._hello is None:
            return "not asked yet"
        return f"idle ({self._hello.model})"

    def why(self, profile: WorkloadProfile) -> str:
        """Why `infer` last gave what it gave for this application; "" when it was never asked."""
        return self._reasons.get(fingerprint(profile), "")

    def reconfigure(self, config: AgentConfig) -> None:
        """Takes a new configuration, and tries again at once what did not work before."""
        self._config = config
        self._budget.calls, self._budget.tokens = config.calls_per_hour, config.tokens_per_hour
        self._failures, self._retry_at, self._trouble, self._over_until = 0, 0.0, "", 0.0

    async def probe(self) -> None:
        """Asks the agent whether a model is configured, so that `describe` knows. Never raises."""
        if self._config.enabled is Switch.OFF:
            return
        try:
            async with self._one, asyncio.timeout(self._config.timeout_s):
                client = await self._connect()
                if client is not None:
                    await client.close()
        except (SchedcpError, TimeoutError, OSError) as e:
            self._failed(_short(e))

    async def close(self) -> None:
        """Ends what is under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def infer(self, profile: WorkloadProfile) -> Intent | None:
        """What a model says `profile` wants, None when the default stands.

        Takes at most `timeout_s` of its own, after those asked about earlier: await it in a task
        of its own. Asking again about the same application is cheap.
        """
        if self._config.enabled is Switch.OFF:
            return None
        key = fingerprint(profile)
        flight = self._flights.get(key)
        if flight is None:
            answer = self._remembered(key)
            if answer is not None:
                return answer.intent(profile, self._config.min_confidence)
            if blocked := self._blocked():
                self._note(key, blocked)
                return None
            if len(self._flights) >= WAITING_MOST:
                self._note(key, "too many workloads are waiting to be asked about")
                return None
            flight = asyncio.create_task(self._fly(key, profile), name="ask sched-agent")
            self._flights[key] = flight
        try:
            answer = await asyncio.shield(flight)
        except asyncio.CancelledError:
            if flight.cancelled():  # closed, not we
                return None
            raise
        return answer.intent(profile, self._config.min_confidence) if answer else None

    async def _fly(self, key: str, profile: WorkloadProfile) -> AgentAnswer | None:
        try:
            async with self._one:
                return await self._ask(key, profile)
        except Exception:
            _logger.exception("asking sched-agent failed by a fault in this program")
            self._failed("internal fault, see the journal")
            self._note(key, "internal fault")
            return None
        finally:
            self._flights.pop(key, None)

    async def _ask(self, key: str, profile: WorkloadProfile) -> AgentAnswer | None:
        spent: Spent | None = None
        try:
            async with asyncio.timeout(self._config.timeout_s) as limit:
                await self._load()
                if (answer := self._remembered(key)) is not None:
                    return answer
                if blocked := self._blocked():
                    self._note(key, blocked)
                    return None
                self._asking = clean(profile.identity.name, chars=60)
                # What the last question could cost: an exhausted budget starts no process.
                known = self._hello.call_tokens if self._hello else 0
                if not self._fits(key, profile, known):
                    return None
                client = await self._connect()
                if client is None or self._hello is None:
                    self._skip(key, profile, self._trouble)
                    return None
                async with contextlib.AsyncExitStack() as stack:
                    stack.push_async_callback(client.close)
                    if not self._fits(key, profile, self._hello.call_tokens):
                        return None
                    spent = self._budget.reserve(self._clock.unix_s(), self._hello.call_tokens)
                    await self._save()
                    answer = await self._call(client, profile, limit)
        except (SchedcpError, TimeoutError, OSError) as e:
            reason = _short(e)
            self._failed(reason)
            self._refuse(key, profile, reason, spent)
            return None
        finally:
            self._asking = ""
        assert spent is not None
        spent.tokens = answer.tokens
        self._failures, self._retry_at, self._trouble = 0, 0.0, ""
        await self._keep(key, profile, answer)
        return answer

    async def _connect(self) -> JsonLineClient | None:
        """A connection to an agent that can ask a model; None with `_trouble` set otherwise."""
        path = self._config.socket
        if not path.is_socket():
            self._hello, self._failures = None, 0
            self._trouble = f"there is no socket {path} (install schedcp-agent, start its socket)"
            return None
        timeout_s = self._config.timeout_s
        client = await JsonLineClient.connect(path, unreachable=AgentError, timeout_s=timeout_s)
        try:
            hello = read_hello(await client.call("hello", timeout_s=timeout_s))
        except BaseException:
            await client.close()
            raise
        self._hello = hello
        if hello.configured:
            if not self._failures:
                self._trouble = ""
            return client
        await client.close()
        self._trouble, self._failures = hello.reason or "no model is configured", 0
        self._retry_at = self._now() + UNCONFIGURED_RETRY_S
        return None

    async def _call(
        self, client: JsonLineClient, profile: WorkloadProfile, limit: asyncio.Timeout
    ) -> AgentAnswer:
        deadline = limit.when()
        assert deadline is not None
        left = deadline - asyncio.get_running_loop().time()
        margin = min(_MARGIN_S, left / 4)
        params = {"profile": profile_to_json(profile), "timeout_s": max(left - margin, 0.001)}
        return read_answer(await client.call("infer", params, timeout_s=max(left, 0.001)))

    # ------------------------------------------------------------ what is remembered

    def _blocked(self) -> str:
        """Why asking is of no use now, without any work: 200 workloads may ask every minute."""
        if self._now() < self._retry_at:
            return self._trouble
        if self._hello is None and self._trouble and not self._config.socket.is_socket():
            return self._trouble
        return ""

    def _remembered(self, key: str) -> AgentAnswer | None:
        answer = self._cache.get(key, self._clock.unix_s())
        if answer is None or self._hello is None or answer.intent_class is None:
            return answer
        # Another model was configured since: its answer is wanted, not the old one's.
        return answer if answer.model == self._hello.model else None

    async def _load(self) -> None:
        if self._loaded:
            return
        now = self._clock.unix_s()
        spent, self._cache, complaint = await asyncio.to_thread(
            self._memory.load, now, self._config.cache_s
        )
        if complaint:
            _logger.warning("%s: this hour's budget of sched-agent counts as used up", complaint)
            spent = [Spent(now, self._config.tokens_per_hour)]
            spent += [Spent(now, 0) for _ in range(self._config.calls_per_hour - 1)]
        self._budget = Budget(self._config.calls_per_hour, self._config.tokens_per_hour, spent)
        self._loaded = True
        if complaint:
            await self._save()  # a restart must not turn damage into a fresh budget

    async def _save(self) -> None:
        """AgentError when it cannot be written: a call that cannot be counted is not made."""
        now = self._clock.unix_s()
        spent = [(s.at_unix_s, s.tokens) for s in self._budget.spent(now)]
        answers = self._cache.items(now)
        try:
            await asyncio.to_thread(self._memory.save, spent, answers)
        except OSError as e:
            raise AgentError(f"the budget cannot be recorded: {e.strerror or e}") from e

    async def _keep(self, key: str, profile: WorkloadProfile, answer: AgentAnswer) -> None:
        sure = answer.confidence >= self._config.min_confidence
        hold_s = float(self._config.cache_s)
        self._cache.put(key, answer, self._clock.unix_s() + hold_s)
        said = f"{answer.model} says {answer.intent_class} ({answer.confidence:.2f})"
        if not sure:
            said += f", less sure than {self._config.min_confidence:g}: the default stands"
        self._note(key, f"{said}: {answer.reason}")
        self._record(profile, f"{said}: {answer.reason}", answer, used=sure)
        try:
            await self._save()
        except AgentError as e:
            _logger.warning("%s", e)  # the answer is good; the reservation is on disk already

    # ------------------------------------------------------------ why there is no answer

    def _fits(self, key: str, profile: WorkloadProfile, tokens: int) -> bool:
        now = self._clock.unix_s()
        before, self._over_until = self._over_until, self._budget.free_at(now, tokens)
        if self._over_until <= now:
            self._over_until = 0.0
            return True
        reason = self.describe_budget()
        if not before > now:  # told once, not for each workload
            self._record(profile, f"sched-agent is {reason}; the default stands", None, used=False)
        self._note(key, reason)
        return False

    def describe_budget(self) -> str:
        if self._over_until == math.inf:
            return self._never()
        minutes = max(1, math.ceil((self._over_until - self._clock.unix_s()) / 60))
        return f"over budget for {min(minutes, int(WINDOW_S / 60))} min"

    def _never(self) -> str:
        need = self._hello.call_tokens if self._hello else 0
        return (
            f"over budget: calls_per_hour {self._config.calls_per_hour} and tokens_per_hour "
            f"{self._config.tokens_per_hour} allow no call of up to {need} tokens"
        )

    def _failed(self, reason: str) -> None:
        self._failures += 1
        wait = min(BACKOFF_FIRST_S * 2 ** min(self._failures - 1, 20), BACKOFF_MOST_S)
        self._retry_at, self._trouble = self._now() + wait, reason

    def _refuse(self, key: str, profile: WorkloadProfile, reason: str, spent: Spent | None) -> None:
        """No answer for this workload: its reservation stays spent, and it waits its turn."""
        self._note(key, reason)
        tokens = spent.tokens if spent else 0
        none = AgentAnswer(None, 0.0, reason, "", tokens, 0.0)
        if spent is not None:
            self._cache.put(key, none, self._clock.unix_s() + REFUSED_S)
        self._record(profile, f"no answer: {reason}; the default stands", none, used=False)

    def _skip(self, key: str, profile: WorkloadProfile, reason: str) -> None:
        self._note(key, reason)
        _logger.debug("sched-agent not asked about %s: %s", profile.cgroup, reason)

    def _note(self, key: str, reason: str) -> None:
        self._reasons[key] = reason
        self._reasons.move_to_end(key)
        if len(self._reasons) > _REASONS_MOST:
            self._reasons.popitem(last=False)

    def _record(
        self, profile: WorkloadProfile, summary: str, answer: AgentAnswer | None, *, used: bool
    ) -> None:
        data: dict[str, object] = {"application": clean(profile.identity.name, chars=100)}
        if answer is not None:
            data |= {
                "used": used,
                "intent": answer.intent_class.value if answer.intent_class else "",
                "confidence": answer.confidence,
                "reason": answer.reason,
                "model": answer.model,
                "tokens": answer.tokens,
                "seconds": answer.seconds,
            }
        at = self._clock.unix_s()
        self._on_record(LearnedRecord(RecordKind.AGENT, at, profile.cgroup, summary, data))

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9


def _short(error: BaseException) -> str:
    """One line for people; what came from the agent's process is cleaned like its answers."""
    if isinstance(error, TimeoutError):
        return "timeout"
    text = error.message if isinstance(error, SchedcpError) else str(error)
    return clean(text, chars=160) or type(error).__name__
