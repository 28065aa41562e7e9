# SPDX-License-Identifier: Apache-2.0
"""Asks polkit whether the caller of a method may do what it asks.

The subject is the caller's unique name on the bus (`system-bus-name`): polkit itself asks the bus
who that is, so nothing can be swapped between the question and the answer, as it can with process
ids (CVE-2013-4288). Interface: org.freedesktop.PolicyKit1.Authority of polkit 0.105 and later.
"""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from typing import Any, Protocol

from dbus_next import DBusError, Variant

from schedcpd.errors import AuthorizationError

logger = logging.getLogger(__name__)

MANAGE_INTENTS = "org.schedcp.manage-intents"
MANAGE_SCHEDULER = "org.schedcp.manage-scheduler"
KILL_SWITCH = "org.schedcp.kill-switch"
RELOAD = "org.schedcp.reload"
VERIFY = "org.schedcp.verify"

_AUTHORITY = (
    "org.freedesktop.PolicyKit1",
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.PolicyKit1.Authority",
)
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_ALLOW_USER_INTERACTION = 1
_cancellation = itertools.count(1)


class Caller(Protocol):
    """The part of `schedcpd.host.dbus.Connection` used here."""

    async def ask(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        *,
        timeout_s: float = 25.0,
    ) -> list[Any]: ...


class Authority:
    """Who a caller is and what it may do, by the bus and by polkit.

    `timeout_s` bounds an answer without a person, `interactive_timeout_s` one that waits for a
    password. When polkit is silent, the answer is no. When it is not installed, cannot be started
    or fails, root may do everything and nobody else anything.
    """

    def __init__(
        self, connection: Caller, *, timeout_s: float = 10.0, interactive_timeout_s: float = 120.0
    ) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._interactive_timeout_s = interactive_timeout_s
        self._uids: OrderedDict[str, int] = OrderedDict()

    async def uid(self, sender: str) -> int:
        """The caller's user. AuthorizationError: the bus does not know (it has gone)."""
        if sender in self._uids:
            self._uids.move_to_end(sender)
            return self._uids[sender]
        try:
            (uid,) = await self._connection.ask(*_BUS, "GetConnectionUnixUser", "s", [sender])
        except (DBusError, TimeoutError) as error:
            raise AuthorizationError(f"the bus cannot say who {sender} is: {error}") from error
        self._uids[sender] = int(uid)
        while len(self._uids) > 512:
            self._uids.popitem(last=False)
        return int(uid)

    async def require(self, action: str, sender: str, *, interactive: bool) -> None:
        """Returns when `sender` may do `action`; AuthorizationError otherwise, in every other case.

        `interactive` is the caller's own wish (a flag of its message) to be asked for a password.
        """
        cancellation = f"schedcp-{next(_cancellation)}"
        timeout = self._interactive_timeout_s if interactive else self._timeout_s
        subject = ["system-bus-name", {"name": Variant("s", sender)}]
        flags = _ALLOW_USER_INTERACTION if interactive else 0
        try:
            ((allowed, challenge, _details),) = await self._connection.ask(
                *_AUTHORITY,
                "CheckAuthorization",
                "(sa{sv})sa{ss}us",
                [subject, action, {}, flags, cancellation],
                timeout_s=timeout,
            )
        except TimeoutError as error:
            await self._cancel(cancellation)
            raise AuthorizationError(
                f"polkit did not answer within {timeout:g} s",
                hint="is polkit.service healthy? root can stop schedcp-scheduler.service directly",
            ) from error
        except DBusError as error:
            # Not installed, masked, cannot be started, ended while asked: root needs no polkit.
            await self._require_root(action, sender, error)
            return
        if allowed is not True:
            raise AuthorizationError(
                f"not authorised for {action}",
                hint=(
                    "this needs an administrator's password; ask again interactively or as root"
                    if challenge
                    else "run the command as root, or from an active local session"
                ),
            )

    async def _require_root(self, action: str, sender: str, why: DBusError) -> None:
        if await self.uid(sender) != 0:
            raise AuthorizationError(
                f"not authorised for {action}: polkit is not available ({why.text})",
                hint="install and start polkit (package polkitd), or run the command as root",
            )

    async def _cancel(self, cancellation: str) -> None:
        try:
            await self._connection.ask(
                *_AUTHORITY, "CancelCheckAuthorization", "s", [cancellation], timeout_s=1.0
            )
        except (DBusError, TimeoutError) as error:
            logger.debug("polkit did not cancel %s: %s", cancellation, error)
