# SPDX-License-Identifier: Apache-2.0
"""A token allows one load of exact bytes, tunables and kernel, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd.deploy.nonces import Nonces
from schedcpd.deploy.token import (
    MAX_TTL_S,
    BootClock,
    TokenMinter,
    TokenReason,
    TokenVerifier,
)
from schedcpd.deploy.token_key import load_or_create_key, load_public_key
from schedcpd.errors import TokenError
from schedcpd.model import (
    CheckResult,
    CheckStatus,
    KernelBuild,
    Tunable,
    Verdict,
    VerdictOrigin,
)

TOP = Path(__file__).parents[3]
KERNEL = KernelBuild("7.3.4+deb13-cloud-amd64", "#1 SMP", "ab" * 20)
SHA = "5" * 64
TUNABLES: dict[str, Tunable] = {"slice_us": 3000, "kick": True}


def verdict(passed: bool = True) -> Verdict:
    bare = Verdict(
        id="",
        passed=passed,
        scheduler="intent",
        object_sha256=SHA,
        tunables=TUNABLES,
        kernel=KERNEL,
        vm_image="0" * 64,
        checks=(CheckResult("object", CheckStatus.PASSED, "", "Only what is allowed."),),
        made_unix_s=1,
        origin=VerdictOrigin.LOCAL,
        schedcp_version="0.1.0",
        ranges={"slice_us": (100, 20000)},
    )
    return replace(bare, id=bare.content_id)


@dataclass
class FakeBoot:
    now: int = 1_000_000_000_000
    boot: str = "boot-1"

    def clock(self) -> BootClock:
        return BootClock(lambda: self.now, lambda: self.boot)


@dataclass
class Bench:
    boot: FakeBoot
    minter: TokenMinter
    verifier: TokenVerifier
    directory: Path

    def check(self, token: str, **changed: object) -> None:
        binding: dict[str, object] = {"sha256": SHA, "tunables": TUNABLES, "kernel": KERNEL}
        self.verifier.check(token, **(binding | changed))  # type: ignore[arg-type]

    def mint(self, ttl_s: float = 60) -> str:
        return self.minter.mint(verdict(), kernel=KERNEL, ttl_s=ttl_s)


def make_bench(directory: Path) -> Bench:
    boot = FakeBoot()
    key_path = directory / "token.key"
    minter = TokenMinter(load_or_create_key(key_path), boot.clock())
    verifier = TokenVerifier.open(key_path, directory / "nonces", boot.clock())
    return Bench(boot, minter, verifier, directory)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as directory:
        yield make_bench(Path(directory))


def refusal(error: pytest.ExceptionInfo[TokenError]) -> str:
    assert error.value.message
    return error.value.reason


def test_the_daemon_signs_in_a_child_that_makes_the_key(tmp_path: Path) -> None:
    boot, key_path = FakeBoot(), tmp_path / "state" / "token.key"
    token = TokenMinter.open(key_path, boot.clock()).mint(verdict(), kernel=KERNEL)
    verifier = TokenVerifier.open(key_path, tmp_path / "nonces", boot.clock())
    verifier.check(token, sha256=SHA, tunables=TUNABLES, kernel=KERNEL)


def test_a_child_that_cannot_sign_says_why(tmp_path: Path) -> None:
    (tmp_path / "token.key").write_text("nonsense")
    (tmp_path / "token.key").chmod(0o600)
    with pytest.raises(TokenError, match="64 hex digits") as error:
        TokenMinter.open(tmp_path / "token.key").mint(verdict(), kernel=KERNEL)
    assert refusal(error) == TokenReason.NO_KEY


def test_a_minted_token_is_accepted_once(bench: Bench) -> None:
    token = bench.mint()
    bench.check(token)
    with pytest.raises(TokenError) as error:
        bench.check(token)
    assert refusal(error) == TokenReason.REPLAYED


def test_replay_is_refused_by_the_next_host_process_too(bench: Bench) -> None:
    token = bench.mint()
    bench.check(token)
    again = make_verifier(bench)
    with pytest.raises(TokenError) as error:
        again.check(token, sha256=SHA, tunables=TUNABLES, kernel=KERNEL)
    assert refusal(error) == TokenReason.REPLAYED


def make_verifier(bench: Bench) -> TokenVerifier:
    return TokenVerifier.open(
        bench.directory / "token.key", bench.directory / "nonces", bench.boot.clock()
    )


def test_a_refused_token_is_not_used_up(bench: Bench) -> None:
    token = bench.mint()
    with pytest.raises(TokenError):
        bench.check(token, sha256="6" * 64)
    bench.check(token)


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_any_flipped_bit_is_refused(shared: Bench, data: st.DataObject) -> None:
    token = bytearray(shared.mint().encode())
    at = data.draw(st.integers(0, len(token) - 1))
    token[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(TokenError) as error:
        shared.check(token.decode("latin-1"))
    assert refusal(error) == TokenReason.FORGED


@given(text=st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_is_refused(shared: Bench, text: str) -> None:
    with pytest.raises(TokenError) as error:
        shared.check(text)
    assert refusal(error) == TokenReason.FORGED


tunable_values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63), st.floats(), st.text(max_size=8)
)


@given(tunables=st.dictionaries(st.sampled_from(["slice_us", "kick", "x"]), tunable_values))
@settings(max_examples=300, deadline=None)
def test_any_other_tunables_are_refused(shared: Bench, tunables: dict[str, Tunable]) -> None:
    same = tunables.keys() == TUNABLES.keys() and all(
        type(value) is type(TUNABLES[name]) and value == TUNABLES[name]
        for name, value in tunables.items()
    )
    token = shared.mint()
    if same:
        shared.check(token, tunables=tunables)
        return
    with pytest.raises(TokenError) as error:
        shared.check(token, tunables=tunables)
    assert refusal(error) == TokenReason.OTHER_TUNABLES


@given(sha=st.text("0123456789abcdef", min_size=64, max_size=64).filter(lambda s: s != SHA))
@settings(max_examples=100, deadline=None)
def test_any_other_bytes_are_refused(shared: Bench, sha: str) -> None:
    with pytest.raises(TokenError) as error:
        shared.check(shared.mint(), sha256=sha)
    assert refusal(error) == TokenReason.OTHER_BYTES


@given(
    release=st.text(max_size=20),
    build_id=st.text("0123456789abcdef", max_size=40).filter(lambda s: s != KERNEL.build_id),
)
@settings(max_examples=100, deadline=None)
def test_any_other_kernel_is_refused(shared: Bench, release: str, build_id: str) -> None:
    for other in (KernelBuild(release, "#1", KERNEL.build_id), replace(KERNEL, build_id=build_id)):
        with pytest.raises(TokenError) as error:
            shared.check(shared.mint(), kernel=other)
        assert refusal(error) == TokenReason.OTHER_KERNEL


def test_other_scope_is_refused(bench: Bench) -> None:
    with pytest.raises(TokenError) as error:
        bench.check(bench.mint(), scope="slice:background.slice")
    assert refusal(error) == TokenReason.OTHER_SCOPE


def test_it_expires_and_its_nonce_is_forgotten_only_then(bench: Bench) -> None:
    used, unused = bench.mint(ttl_s=10), bench.mint(ttl_s=10)
    bench.check(used)
    bench.boot.now += 9_999_999_999
    bench.check(bench.mint())
    assert len(list((bench.directory / "nonces").iterdir())) == 2
    bench.boot.now += 1
    for token in (used, unused):
        with pytest.raises(TokenError) as error:
            bench.check(token)
        assert refusal(error) == TokenReason.EXPIRED
    bench.check(bench.mint())
    assert len(list((bench.directory / "nonces").iterdir())) == 2


def test_a_token_of_another_boot_is_refused(bench: Bench) -> None:
    token = bench.mint()
    bench.boot.boot = "boot-2"
    with pytest.raises(TokenError) as error:
        bench.check(token)
    assert refusal(error) == TokenReason.OTHER_BOOT


def test_another_machines_key_is_refused(bench: Bench, tmp_path: Path) -> None:
    other = TokenMinter(load_or_create_key(tmp_path / "other.key"), bench.boot.clock())
    with pytest.raises(TokenError) as error:
        bench.check(other.mint(verdict(), kernel=KERNEL))
    assert refusal(error) == TokenReason.FORGED


def test_without_a_place_for_nonces_nothing_is_loaded(bench: Bench) -> None:
    (bench.directory / "nonces").write_text("a file where the directory belongs")
    with pytest.raises(TokenError) as error:
        bench.check(bench.mint())
    assert refusal(error) == TokenReason.NONCE_STORE


def test_minting_needs_a_passing_verdict(bench: Bench) -> None:
    with pytest.raises(TokenError) as error:
        bench.minter.mint(verdict(passed=False), kernel=KERNEL)
    assert refusal(error) == TokenReason.NOT_PASSED


def test_minting_needs_an_unedited_verdict(bench: Bench) -> None:
    for edited in (
        replace(verdict(passed=False), passed=True),
        replace(verdict(), object_sha256="6" * 64),
        replace(verdict(), ranges={"slice_us": (0, 1e9)}),
    ):
        with pytest.raises(TokenError) as error:
            bench.minter.mint(edited, kernel=KERNEL)
        assert refusal(error) == TokenReason.NOT_PASSED


@pytest.mark.parametrize(
    ("tunables", "covered"),
    [
        ({"slice_us": 100, "kick": True}, True),
        ({"slice_us": 20000}, True),
        ({"slice_us": 99}, False),
        ({"slice_us": 20001}, False),
        ({"slice_us": 3000.0}, False),
        ({"slice_us": True}, False),
        ({"kick": False}, False),
        ({"other": 1}, False),
    ],
)
def test_minting_covers_only_verified_tunables(
    bench: Bench, tunables: dict[str, Tunable], covered: bool
) -> None:
    if covered:
        token = bench.minter.mint(verdict(), kernel=KERNEL, tunables=tunables)
        bench.check(token, tunables=tunables)
        return
    with pytest.raises(TokenError) as error:
        bench.minter.mint(verdict(), kernel=KERNEL, tunables=tunables)
    assert refusal(error) == TokenReason.OTHER_TUNABLES


@pytest.mark.parametrize("ttl_s", [0, -1, MAX_TTL_S + 1, float("nan")])
def test_a_lifetime_has_bounds(bench: Bench, ttl_s: float) -> None:
    with pytest.raises(TokenError) as error:
        bench.mint(ttl_s=ttl_s)
    assert refusal(error) == TokenReason.EXPIRED


def test_the_key_is_made_once_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "state" / "token.key"
    first = load_or_create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.with_suffix(".pub").stat().st_mode & 0o777 == 0o644
    assert sorted(p.name for p in path.parent.iterdir()) == ["token.key", "token.pub"]
    again = load_or_create_key(path)
    assert again.private_bytes_raw() == first.private_bytes_raw()
    load_public_key(path).verify(first.sign(b"x"), b"x")


def test_racing_processes_agree_on_one_key(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from schedcpd.deploy.token_key import load_or_create_key\n"
        "load_or_create_key(Path(sys.argv[1])); print(Path(sys.argv[1]).read_text().strip())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "token.key")]
    racers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TOP) for _ in range(6)
    ]
    keys = {racer.communicate()[0] for racer in racers}
    assert all(racer.returncode == 0 for racer in racers)
    assert len(keys) == 1


def test_a_readable_or_broken_key_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    load_or_create_key(path)
    path.chmod(0o640)
    with pytest.raises(TokenError, match="mode 0640"):
        load_or_create_key(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(TokenError, match="64 hex digits"):
        load_or_create_key(path)
    with pytest.raises(TokenError) as error:
        load_public_key(tmp_path / "absent.key")
    assert refusal(error) == TokenReason.NO_KEY


def test_nonces_are_atomic_between_users(tmp_path: Path) -> None:
    one, two = (Nonces(tmp_path / "n", lambda: 0) for _ in range(2))
    assert one.use("ab", 5)
    assert not two.use("ab", 5)


def test_importing_the_token_module_does_not_import_cryptography() -> None:
    script = "import sys, schedcpd.deploy.token; print('cryptography' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=TOP
    )
    assert done.stdout.strip() == "False"
