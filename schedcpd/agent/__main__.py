# SPDX-License-Identifier: Apache-2.0
"""`schedcp-agent`: composition root of the agent's process.

Under systemd the socket comes from schedcp-agent.socket. `--socket PATH` binds one by hand,
for trying a model without root; then only the user who started it may connect.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from schedcpd import __version__
from schedcpd.agent.config import DEFAULT_FILE, AgentFile, load_or_reason
from schedcpd.agent.llm import LiteLlm, scrub_this_process
from schedcpd.agent.service import Service
from schedcpd.errors import SchedcpError
from schedcpd.host.activation import bound_socket, passed_socket
from schedcpd.host.jsonline import JsonLineServer, root_or_self

_logger = logging.getLogger("schedcp-agent")


def main(argv: Sequence[str] | None = None) -> int:
    """0 when idle or told to stop, 1 for a bad configuration under --check-config, 2 for usage."""
    args = _arguments(argv)
    scrub_this_process()
    os.umask(0o077)
    # Priorities as journald reads them from stderr (sd-daemon(3)); INFO is 6, WARNING 4.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    config, reason, wrong = load_or_reason(args.config)
    if args.check_config:
        print(reason or f"{args.config}: {config.model} at {config.api_base or 'its provider'}")
        return 1 if wrong else 0
    try:
        if args.socket is not None:
            listen = bound_socket(args.socket)
        else:
            listen = passed_socket("schedcp-agent.socket", "--socket")
    except (OSError, SchedcpError) as e:
        print(f"schedcp-agent: {e}", file=sys.stderr)
        return 2
    asyncio.run(_serve(listen, config, reason))
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="schedcp-agent",
        description="Asks a language model what a workload wants; started by schedcp-agent.socket.",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, metavar="FILE")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="bind here, without systemd")
    parser.add_argument("--check-config", action="store_true", help="say what is configured")
    parser.add_argument("--version", action="version", version=__version__)
    return parser.parse_args(argv)


async def _serve(listen: socket.socket, config: AgentFile, reason: str) -> None:
    if reason:
        _logger.warning("%s", reason)
    service = Service(config, reason, LiteLlm(config))
    server = JsonLineServer(service.methods(), allow=root_or_self)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await server.start(listen)
    waits = [asyncio.create_task(service.idle()), asyncio.create_task(stop.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
    await server.close()


if __name__ == "__main__":
    sys.exit(main())
