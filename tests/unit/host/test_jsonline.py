# SPDX-License-Identifier: Apache-2.0
"""The wire of docs/contracts.md, over real unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import (
    AuthorizationError,
    ConfigError,
    InvalidArgumentError,
    SchedcpError,
    SchedulerHostError,
    TokenError,
)
from schedcpd.host.jsonline import (
    LINE_MAX,
    JsonLineClient,
    JsonLineServer,
    Method,
    Peer,
    decode_line,
    encode_line,
    error_from_json,
    error_to_json,
    root_only,
)


async def _echo(params: Any) -> dict[str, Any]:
    return {"echo": params["text"]}


async def _forged(params: Any) -> dict[str, Any]:
    raise TokenError("signature does not match", hint="mint a new one")


async def _broken(params: Any) -> dict[str, Any]:
    raise ZeroDivisionError("a fault of ours")


async def _slow(params: Any) -> dict[str, Any]:
    await asyncio.sleep(30)
    return {}


METHODS = {
    "echo": Method(_echo, required=frozenset({"text"}), optional=frozenset({"loud"})),
    "forged": Method(_forged),
    "broken": Method(_broken),
    "slow": Method(_slow),
}


@contextlib.asynccontextmanager
async def serving(path: Path, **kwargs: Any) -> AsyncIterator[JsonLineServer]:
    kwargs.setdefault("allow", lambda peer: None)
    server = JsonLineServer(METHODS, **kwargs)
    await server.start(path)
    try:
        yield server
    finally:
        await server.close()


async def connect(path: Path, **kwargs: Any) -> JsonLineClient:
    return await JsonLineClient.connect(path, unreachable=SchedulerHostError, **kwargs)


async def raw(path: Path, data: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(path), limit=LINE_MAX)
    writer.write(data)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    answer = json.loads(line)
    assert isinstance(answer, dict)
    return answer


async def test_calls_are_answered_and_errors_come_back_as_themselves(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"):
        client = await connect(tmp_path / "s")
        text = "żółw\n\u2028" * 3
        assert await client.call("echo", {"text": text}, timeout_s=5) == {"echo": text}
        with pytest.raises(TokenError) as e:
            await client.call("forged", timeout_s=5)
        assert (e.value.message, e.value.hint) == ("signature does not match", "mint a new one")
        with pytest.raises(SchedcpError, match="internal error"):
            await client.call("broken", timeout_s=5)
        assert await client.call("echo", {"text": "still"}, timeout_s=5) == {"echo": "still"}
        await client.close()


@pytest.mark.parametrize(
    ("method", "params", "named"),
    [
        ("shout", {}, "'shout'"),
        ("echo", {"text": "x", "volume": 1}, "'volume'"),
        ("echo", {"loud": True}, "'text'"),
    ],
)
async def test_unknown_methods_and_params_are_refused_by_name(
    tmp_path: Path, method: str, params: dict[str, Any], named: str
) -> None:
    async with serving(tmp_path / "s"):
        client = await connect(tmp_path / "s")
        with pytest.raises(InvalidArgumentError, match=named):
            await client.call(method, params, timeout_s=5)
        await client.close()


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b"nonsense\n",
        b'{"id":NaN,"method":"echo"}\n',
        b'{"id":true,"method":"echo","params":{"text":""}}\n',
        b'{"id":1,"method":"echo","params":[]}\n',
        b'{"id":1,"method":["echo"]}\n',
        b'{"id":1,"method":"echo","params":{"text":""},"extra":0}\n',
        b"\xff\xfe\n",
        b"[" * 200_000 + b"\n",
        b'{"id":' + b"9" * 5000 + b"}\n",
        b"x" * (LINE_MAX + 10) + b"\n",
    ],
)
async def test_bad_lines_get_an_error_and_do_not_end_the_server(
    tmp_path: Path, line: bytes
) -> None:
    async with serving(tmp_path / "s"):
        answer = await raw(tmp_path / "s", line)
        assert answer["error"]["code"] == "InvalidArgument"
        good = await raw(tmp_path / "s", b'{"id":7,"method":"echo","params":{"text":"a"}}\n')
        assert good == {"id": 7, "result": {"echo": "a"}}


async def test_a_request_over_the_cap_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"):
        client = await connect(tmp_path / "s")
        with pytest.raises(InvalidArgumentError, match="at most"):
            await client.call("echo", {"text": "x" * LINE_MAX}, timeout_s=5)
        assert await client.call("echo", {"text": ""}, timeout_s=5) == {"echo": ""}
        await client.close()


async def test_events_reach_everyone_connected(tmp_path: Path) -> None:
    counts: list[int] = []
    all_gone = asyncio.Event()

    def changed(connections: int) -> None:
        counts.append(connections)
        if connections == 0:
            all_gone.set()

    async with serving(tmp_path / "s", on_idle_change=changed) as server:
        got: list[tuple[str, Any]] = []
        clients = [
            await connect(tmp_path / "s", on_event=lambda name, data: got.append((name, data)))
            for _ in range(2)
        ]
        for client in clients:
            await client.call("echo", {"text": ""}, timeout_s=5)
        assert server.connections == 2
        server.broadcast("ejected", {"kind": 1026})
        for client in clients:
            await client.call("echo", {"text": ""}, timeout_s=5)
        assert got == [("ejected", {"kind": 1026})] * 2
        for client in clients:
            await client.close()
        await asyncio.wait_for(all_gone.wait(), 5)
    assert counts[:2] == [1, 2]
    assert counts[-1] == 0


async def test_late_and_lost_servers_are_unreachable(tmp_path: Path) -> None:
    with pytest.raises(SchedulerHostError, match="No such file"):
        await connect(tmp_path / "absent")
    async with serving(tmp_path / "s") as server:
        client = await connect(tmp_path / "s")
        with pytest.raises(SchedulerHostError, match=r"within 0\.05 s"):
            await client.call("slow", timeout_s=0.05)
        pending = asyncio.create_task(client.call("slow", timeout_s=20))
        await asyncio.sleep(0.05)
        await server.close()
        with pytest.raises(SchedulerHostError, match="closed"):
            await pending
        await asyncio.wait_for(client.closed.wait(), 5)
        with pytest.raises(SchedulerHostError, match="closed"):
            await client.call("echo", {"text": ""}, timeout_s=5)


async def test_a_refused_peer_is_told_why_and_reaches_no_method(tmp_path: Path) -> None:
    def nobody(peer: Peer) -> None:
        raise AuthorizationError(f"uid {peer.uid} may not")

    async with serving(tmp_path / "s", allow=nobody):
        answer = await raw(tmp_path / "s", b'{"id":1,"method":"echo","params":{"text":"a"}}\n')
        assert answer["id"] is None
        assert answer["error"]["code"] == "AccessDenied"
        client = await connect(tmp_path / "s")
        with pytest.raises((AuthorizationError, SchedulerHostError)):
            await client.call("echo", {"text": ""}, timeout_s=5)
        await client.close()


def test_root_only() -> None:
    root_only(Peer(1, 0, 0))
    with pytest.raises(AuthorizationError, match="uid 1000"):
        root_only(Peer(1, 1000, 0))


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), _json))
def test_lines_round_trip(value: dict[str, Any]) -> None:
    line = encode_line(value)
    assert line.count(b"\n") == 1
    assert decode_line(line) == value


@given(st.binary())
def test_any_bytes_are_an_object_or_an_invalid_argument(data: bytes) -> None:
    try:
        assert isinstance(decode_line(data), dict)
    except InvalidArgumentError as e:
        assert e.message


@given(
    st.sampled_from([SchedcpError, TokenError, ConfigError, SchedulerHostError]),
    st.text(),
    st.text(),
)
def test_errors_round_trip(cls: type[SchedcpError], message: str, hint: str) -> None:
    back = error_from_json(error_to_json(cls(message, hint=hint)))
    assert (type(back), back.message, back.hint) == (cls, message, hint)


@given(_json)
def test_any_error_member_becomes_a_schedcp_error(data: Any) -> None:
    assert isinstance(error_from_json(data), SchedcpError)


async def test_a_socket_passed_in_keeps_its_path(tmp_path: Path) -> None:
    """systemd's socket unit owns the path; Python 3.13 would unlink it when the service ends."""
    path = tmp_path / "s.sock"
    listen = socket.socket(socket.AF_UNIX)
    listen.bind(str(path))
    listen.listen()
    listen.setblocking(False)
    server = JsonLineServer({}, allow=lambda _peer: None)
    await server.start(listen)
    await server.close()
    assert path.exists()
