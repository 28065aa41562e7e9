# SPDX-License-Identifier: Apache-2.0
"""The options that hold for every command, and where it prints."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from schedctl.client import Daemon, daemon
from schedctl.text import Output, safe


class Session:
    """Asks the daemon for one command, and prints its result."""

    def __init__(self, options: argparse.Namespace, output: Output) -> None:
        self.options = options
        self.output = output
        self.address: str | None = options.bus_address
        self.ask_password: bool = not options.no_ask_password

    async def read(self, question: Callable[[Daemon], Awaitable[Any]]) -> Any:
        async with daemon(self.address, ask_password=False, changes=False) as control:
            return await question(control)

    async def change(self, action: Callable[[Daemon], Awaitable[Any]]) -> Any:
        async with daemon(self.address, ask_password=self.ask_password) as control:
            return await action(control)

    def said(self, name: str, content: Mapping[str, Any], sentence: str) -> None:
        """The result of a change: JSON, or one line."""
        if self.output.json_wanted:
            self.output.document(name, content)
        else:
            self.output.line(safe(sentence))
