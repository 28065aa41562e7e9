# SPDX-License-Identifier: Apache-2.0
"""How much one caller may ask: token buckets, and the checks on the text of arguments."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from schedcpd.errors import InvalidArgumentError, SchedcpError

MAX_TARGET = 4096  # PATH_MAX of Linux
MAX_NAME = 128
MAX_REASON = 512


class LimitsExceededError(SchedcpError):
    """The caller asked too often or has too many requests open. Nothing was changed."""

    code = "LimitsExceeded"


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` calls at once, then `per_s` calls each second."""

    burst: float
    per_s: float


class RateLimiter:
    """One token bucket for each key; the least recently used keys are forgotten first.

    `clock` returns seconds that never go back.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float], *, max_keys: int = 512) -> None:
        self._rate = rate
        self._clock = clock
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Counts one call. LimitsExceededError: the bucket of `key` is empty."""
        now = self._clock()
        tokens, since = self._buckets.pop(key, (self._rate.burst, now))
        tokens = min(self._rate.burst, tokens + (now - since) * self._rate.per_s)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = (1 - tokens) / self._rate.per_s
            raise LimitsExceededError(
                f"too many calls: at most {self._rate.per_s:g} a second",
                hint=f"try again in {max(wait, 0.1):.1f} s",
            )


class TimeBudget:
    """Seconds of the daemon's time each key may use: `burst` at once, `per_s` of each second.

    A call is let in while anything is left and charged what it took, so one that costs more than
    the burst is possible, and paid for by waiting.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float], *, max_keys: int = 512) -> None:
        self._rate = rate
        self._clock = clock
        self._max_keys = max_keys
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def _balance(self, key: str) -> float:
        now = self._clock()
        left, since = self._left.get(key, (self._rate.burst, now))
        return min(self._rate.burst, left + (now - since) * self._rate.per_s)

    def check(self, key: str) -> None:
        """LimitsExceededError: `key` has used up its time."""
        balance = self._balance(key)
        if balance <= 0:
            raise LimitsExceededError(
                "your questions took too much of the daemon's time",
                hint=f"try again in {max(-balance / self._rate.per_s, 0.1):.1f} s",
            )

    def charge(self, key: str, seconds: float) -> None:
        self._left[key] = (self._balance(key) - seconds, self._clock())
        self._left.move_to_end(key)
        while len(self._left) > self._max_keys:
            self._left.popitem(last=False)


def text(field: str, value: str, maximum: int, *, empty: bool = True) -> str:
    """The value if it is short enough. InvalidArgumentError names the field."""
    if not value and not empty:
        raise InvalidArgumentError(f"{field} is empty", hint=f"give a {field}")
    if len(value) > maximum:
        raise InvalidArgumentError(
            f"{field} has {len(value)} characters", hint=f"at most {maximum} are allowed"
        )
    return value


def sentence(field: str, value: str) -> str:
    """Free text for history and logs: bounded, and one line without control characters."""
    text(field, value, MAX_REASON)
    return "".join(char if char.isprintable() else " " for char in value).strip()
