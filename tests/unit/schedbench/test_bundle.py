# SPDX-License-Identifier: Apache-2.0
"""Bundles: honest ones pass, everything else is caught and named. Signed by the real ssh-keygen."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedbench.bundle import manifest, signature
from schedbench.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE
from schedbench.bundle.verify import Check, Options, State, verify
from schedbench.errors import BenchError
from schedbench.evaluate.results import RESULTS_FILE
from schedbench.model import Clock, Sample, SampleKey, SampleState
from schedbench.records import RunFolder, RunRecord, dump
from schedcpd.errors import UnsupportedError
from schedcpd.host import process

from .synthetic import RATE, TIME, lose, noisy, record, workload, write

PATH = "samples/w00.default.1.json"


@pytest.fixture(autouse=True)
def _fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedbench.evaluate.score.ROUNDS", 200)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two keys and an allowed signers file that lists one of them."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("key", "stranger"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name]
        subprocess.run(argv, check=True)
    public = (folder / "key.pub").read_text()
    (folder / "allowed").write_text(f'lab@example namespaces="{signature.NAMESPACE}" {public}')
    return folder


def make_run(path: Path, clock: Clock = Clock.WALL) -> RunFolder:
    of = record(2, seeds=(1, 2, 3, 4), clock=clock)

    def virtual(one: Sample) -> Sample:
        return replace(one, repeats=one.repeats[1:2], digest="ab" * 32)

    change = virtual if clock is Clock.VIRTUAL else lambda one: one
    folder = write(path, of, noisy(1, other=0.8), change)
    folder.write_log(SampleKey("w00", "other", 1), "booting\n")
    policy = b"a policy"
    (path / "files").mkdir()
    (path / "files" / hashlib.sha256(policy).hexdigest()).write_bytes(policy)
    training = replace(folder.samples()[0], key=SampleKey("w00", "other", 900))
    folder.write_training(training, 1)
    return folder


@pytest.fixture(scope="module")
def signed(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle that nobody may change."""
    folder = tmp_path_factory.mktemp("signed")
    make_run(folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("schedbench.evaluate.score.ROUNDS", 200)
        manifest.write(folder / "run", folder / "bundle")
    asyncio.run(signature.sign(folder / "bundle", keys / "key"))
    return folder / "bundle"


@pytest.fixture
def bundle(signed: Path, tmp_path: Path) -> Path:
    """A copy of it to tamper with."""
    return Path(shutil.copytree(signed, tmp_path / "copy"))


def failed(checks: list[Check]) -> dict[str, str]:
    return {c.name: " | ".join(c.said) for c in checks if c.state is State.FAILED}


async def test_an_honest_bundle_passes_every_check(signed: Path, keys: Path) -> None:
    checks = await verify(signed, Options(allowed_signers=keys / "allowed"))
    assert {check.state for check in checks} == {State.OK}
    assert [check.name for check in checks] == [
        "files", "signature", "records", "workloads", "plan", "budget", "raw data", "results",
    ]  # fmt: skip
    assert checks[1].said == ("signed by lab@example",)
    made = manifest.load((signed / MANIFEST_FILE).read_bytes())
    assert made.environment == record().environment
    assert made.host == {"cpus": 4}
    assert {"run.json", RESULTS_FILE, PATH, "logs/w00.other.1.txt"} <= made.files.keys()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(choice=st.data())
async def test_any_changed_byte_of_any_file_is_caught_and_named(
    signed: Path, keys: Path, tmp_path: Path, choice: st.DataObject
) -> None:
    files = sorted(manifest.contents(signed))
    name = choice.draw(st.sampled_from([MANIFEST_FILE, SIGNATURE_FILE]) | st.sampled_from(files))
    data = bytearray((signed / name).read_bytes())
    at = choice.draw(st.integers(0, len(data) - 1))
    how = choice.draw(st.sampled_from(["change", "delete", "insert"]))
    if how == "change":
        data[at] ^= choice.draw(st.integers(1, 255))
    elif how == "delete":
        del data[at]
    else:
        data.insert(at, choice.draw(st.integers(0, 255)))
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    copy = Path(shutil.copytree(signed, tmp_path / "copy"))
    (copy / name).write_bytes(data)
    checks = failed(await verify(copy, Options(allowed_signers=keys / "allowed")))
    assert any(name in said for said in checks.values()), (name, checks)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: (b / PATH).unlink(), f"{PATH}: is missing"),
        (lambda b: (b / "extra").write_text("x"), "extra: is not in the manifest"),
        (lambda b: (b / "link").symlink_to("/etc/passwd"), "link: is neither a file"),
        (lambda b: (b / "link").symlink_to("/etc"), "link: is neither a file"),
    ],
)
async def test_files_that_came_or_went(
    bundle: Path, keys: Path, change: Callable[[Path], object], said: str
) -> None:
    change(bundle)
    checks = await verify(bundle, Options(allowed_signers=keys / "allowed"))
    assert said in failed(checks)["files"]


async def test_a_stranger_s_signature_is_not_trusted(bundle: Path, keys: Path) -> None:
    (bundle / SIGNATURE_FILE).unlink()
    checks = await verify(bundle, Options(allowed_signers=keys / "allowed"))
    assert "not signed" in failed(checks)["signature"]
    assert not failed(await verify(bundle, Options(unsigned_ok=True)))
    await signature.sign(bundle, keys / "stranger")
    checks = await verify(bundle, Options(allowed_signers=keys / "allowed", unsigned_ok=True))
    assert "does not list" in failed(checks)["signature"]
    nobody = await verify(bundle, Options())
    assert [c.state for c in nobody if c.name == "signature"] == [State.SKIPPED]


async def test_a_signature_for_something_else_is_none(bundle: Path, keys: Path) -> None:
    """The right key, the right bytes, another namespace."""
    (bundle / SIGNATURE_FILE).unlink()
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", keys / "key"]
    (await process.run([*argv, bundle / MANIFEST_FILE], timeout_s=60)).check()
    for options in (Options(allowed_signers=keys / "allowed"), Options()):
        assert "signature" in failed(await verify(bundle, options))


async def test_a_bundle_is_written_and_signed_once(
    bundle: Path, keys: Path, tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match="exists"):
        manifest.write(bundle, bundle)
    with pytest.raises(BenchError, match="signed once"):
        await signature.sign(bundle, keys / "key")
    (bundle / SIGNATURE_FILE).unlink()
    with pytest.raises(BenchError, match="cannot sign"):
        await signature.sign(bundle, tmp_path / "no-key")
    with pytest.raises(BenchError, match=r"has no manifest\.json"):
        await verify(tmp_path, Options())


# What a forger with a key of their own can do: change a record and make the bundle again.


async def forged(
    tmp_path: Path, forge: Callable[[Sample], Sample], options: Options | None = None
) -> dict[str, str]:
    folder = make_run(tmp_path / "run")
    for sample in folder.samples():
        changed = forge(sample)
        if changed != sample:
            (path,) = folder.path.glob(
                f"samples/{sample.key.workload}.{sample.key.arm}.{sample.key.seed}.json"
            )
            path.write_text(dump(changed))
    manifest.write(folder.path, tmp_path / "bundle")
    return failed(await verify(tmp_path / "bundle", options or Options(unsigned_ok=True)))


def of_other(change: Callable[[Sample], Sample]) -> Callable[[Sample], Sample]:
    key = SampleKey("w00", "other", 2)
    return lambda sample: change(sample) if sample.key == key else sample


FORGERIES: list[tuple[Callable[[Sample], Sample], str]] = [
    (lambda s: replace(s, metrics={**s.metrics, "time": 0.1}), "the repeats' medians are"),
    (
        lambda s: replace(
            s,
            metrics={**s.metrics, "rate": 999.0},
            repeats=tuple(replace(r, metrics={**r.metrics, "rate": 999.0}) for r in s.repeats),
        ),
        "repeat 1: rate: 999.0 is stored",
    ),
    (
        lambda s: replace(s, repeats=tuple(replace(r, exit_code=1) for r in s.repeats)),
        "repeat 1: exit 1, check 0, yet the sample is ok",
    ),
    (
        lambda s: replace(s, repeats=tuple(replace(r, check_exit_code=2) for r in s.repeats)),
        "check 2, yet",
    ),
    (
        lambda s: replace(s, repeats=tuple(replace(r, output="") for r in s.repeats)),
        "is not in the output",
    ),
    (lambda s: replace(s, repeats=s.repeats[:1]), "1 repeats instead of 3"),
    (lambda s: replace(s, kernel_log=("[   12.5] BUG: soft lockup",)), "but the kernel said: ["),
    (lambda s: replace(lose(s), metrics=s.metrics), "is failed, yet has metrics"),
    (lambda s: replace(lose(s), reason=""), "is failed without a reason"),
]


@pytest.mark.parametrize(("change", "said"), FORGERIES)
async def test_a_sample_that_contradicts_its_raw_data_is_caught(
    tmp_path: Path, change: Callable[[Sample], Sample], said: str
) -> None:
    wrong = await forged(tmp_path, of_other(change))
    assert said in wrong["raw data"]
    assert "w00, other, seed 2" in wrong["raw data"]


async def test_losses_told_honestly_are_no_contradiction(tmp_path: Path) -> None:
    def loses(sample: Sample) -> Sample:
        bad = replace(sample.repeats[0], exit_code=1, metrics={})
        return replace(lose(sample), repeats=(bad,))

    assert not await forged(tmp_path, of_other(loses))


async def test_harmless_words_of_the_kernel_are_no_contradiction(tmp_path: Path) -> None:
    words = ("[    6.092513] reboot: Power down",)
    assert not await forged(tmp_path, of_other(lambda s: replace(s, kernel_log=words)))


async def test_a_training_sample_is_checked_too(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    path = tmp_path / "run/training/other/w00/0001.json"
    path.write_text(dump(replace(folder.training()[0], metrics={"time": 1e-3, "rate": 1e3})))
    manifest.write(folder.path, tmp_path / "bundle")
    wrong = failed(await verify(tmp_path / "bundle", Options(unsigned_ok=True)))
    assert "training of w00, other, seed 900" in wrong["raw data"]


def with_pattern(tmp_path: Path, pattern: str, printed: str) -> Path:
    """A bundle by somebody whose workload reads its rate with this pattern."""
    metrics = (TIME, replace(RATE, source=f"regex:{pattern}"))
    of = record([workload("w00", metrics=metrics)], seeds=(1, 2))

    def prints(sample: Sample) -> Sample:
        return replace(sample, repeats=tuple(replace(r, output=printed) for r in sample.repeats))

    folder = write(tmp_path / "run", of, noisy(1, other=0.8), prints)
    manifest.write(folder.path, tmp_path / "bundle")
    return tmp_path / "bundle"


async def test_a_pattern_without_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = with_pattern(tmp_path, "((a|aa)+)+$", "a" * 200 + "b")
    monkeypatch.setattr("schedbench.bundle.raw.raw_problems.__defaults__", (0.2,))
    wrong = failed(await verify(bundle, Options(unsigned_ok=True)))
    assert "w00, default, seed 1: its metrics could not be read within 0.2 s" in wrong["raw data"]


@pytest.mark.parametrize(
    ("pattern", "said"), [("(", "unterminated"), ("rate [0-9]+", "no such group")]
)
async def test_a_pattern_that_is_none_is_named(tmp_path: Path, pattern: str, said: str) -> None:
    bundle = with_pattern(tmp_path, pattern, "rate 5")
    assert said in failed(await verify(bundle, Options(unsigned_ok=True)))["raw data"]


async def test_overuse_is_counted_again(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    one = folder.training()[0]
    for number in (2, 3):
        folder.write_training(replace(one, key=replace(one.key, seed=900 + number)), number)
    manifest.write(folder.path, tmp_path / "bundle")
    wrong = failed(await verify(tmp_path / "bundle", Options(unsigned_ok=True)))
    assert list(wrong) == ["budget"]
    assert (
        "w00, other, seed 1: overuse 0 is stored; 3 training samples of a budget of 2 are 0.5"
        in (wrong["budget"])
    )


async def test_json_that_is_nested_without_end_is_refused(bundle: Path, keys: Path) -> None:
    for name in (MANIFEST_FILE, RESULTS_FILE, PATH):
        (bundle / name).write_text("[" * 100_000)
        assert failed(await verify(bundle, Options(allowed_signers=keys / "allowed")))


async def test_samples_left_out_are_missed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder.path / "samples/w00.other.2.json").unlink()
    manifest.write(folder.path, tmp_path / "bundle")
    wrong = failed(await verify(tmp_path / "bundle", Options(unsigned_ok=True)))
    assert wrong == {"plan": "w00, other, seed 2: was planned and is not there"}


async def test_seeds_of_an_extension_left_out_are_missed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    extra = replace(folder.samples()[0], key=SampleKey("w01", "default", 5), order=99)
    folder.write(extra)
    manifest.write(folder.path, tmp_path / "bundle")
    wrong = failed(await verify(tmp_path / "bundle", Options(unsigned_ok=True)))
    assert wrong["plan"] == "w01, other, seed 5: another arm has this seed, this one has not"


async def test_a_recorded_fault_explains_a_missing_sample(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    gone = next(s for s in folder.samples() if s.key == SampleKey("w00", "other", 2))
    (folder.path / "samples/w00.other.2.json").unlink()
    fault = replace(lose(gone, SampleState.INFRASTRUCTURE), reason="no space on the host")
    folder.write(fault, fault=True)
    manifest.write(folder.path, tmp_path / "bundle")
    checks = await verify(tmp_path / "bundle", Options(unsigned_ok=True))
    assert not failed(checks)
    assert "incomplete" in next(c for c in checks if c.name == "results").said[0]


async def remade(tmp_path: Path, name: str, change: Callable[[dict[str, object]], None]) -> Path:
    """A bundle with a JSON file altered and its hash in the manifest corrected."""
    make_run(tmp_path / "run")
    made = manifest.write(tmp_path / "run", tmp_path / "bundle")
    path = tmp_path / "bundle" / name
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    files = manifest.contents(tmp_path / "bundle")
    if name != MANIFEST_FILE:
        (tmp_path / "bundle" / MANIFEST_FILE).write_text(manifest.dump(replace(made, files=files)))
    return tmp_path / "bundle"


async def test_results_that_do_not_follow_from_the_samples_are_named(tmp_path: Path) -> None:
    def better(value: dict[str, object]) -> None:
        scores = value["scores"]
        assert isinstance(scores, list)
        scores[0]["score"] += 0.001

    bundle = await remade(tmp_path, RESULTS_FILE, better)
    wrong = failed(await verify(bundle, Options(unsigned_ok=True)))
    assert list(wrong) == ["results"]
    assert wrong["results"].startswith("results.json: scores[0].score: ")


async def test_a_manifest_that_tells_of_another_run_is_named(tmp_path: Path) -> None:
    def elsewhere(value: dict[str, object]) -> None:
        value["host"] = {"cpus": 64}

    bundle = await remade(tmp_path, MANIFEST_FILE, elsewhere)
    wrong = failed(await verify(bundle, Options(unsigned_ok=True)))
    assert wrong == {"records": "manifest.json: host: is not as in run.json"}


async def test_an_altered_workload_under_a_known_digest_is_named(signed: Path) -> None:
    known = {"w00": workload("w00"), "w01": workload("w01", check="sha256sum -c sums")}
    wrong = failed(await verify(signed, Options(unsigned_ok=True, known=known)))
    assert "w01: bears the digest" in wrong["workloads"]
    assert "differs in check" in wrong["workloads"]


class Again:
    """Gives back what the bundle has, as a deterministic clock would, or something else."""

    def __init__(self, change: Callable[[Sample], Sample] | None) -> None:
        self.change, self.asked = change, list[SampleKey]()

    async def again(self, record: RunRecord, sample: Sample) -> Sample:
        self.asked.append(sample.key)
        if self.change is None:
            raise UnsupportedError("this QEMU is another build")
        return self.change(sample)


async def test_a_virtual_clock_bundle_is_run_again(tmp_path: Path) -> None:
    make_run(tmp_path / "run", Clock.VIRTUAL)
    bundle = tmp_path / "bundle"
    manifest.write(tmp_path / "run", bundle)

    async def check(again: Again | None) -> Check:
        options = Options(unsigned_ok=True, reruns=3, repeater=again)
        return (await verify(bundle, options))[-1]

    honest = Again(lambda s: s)
    found = await check(honest)
    assert (found.name, found.state, len(set(honest.asked))) == ("re-run", State.OK, 3)
    assert not failed(await verify(bundle, Options(unsigned_ok=True, repeater=honest)))
    other_bytes = await check(Again(lambda s: replace(s, digest="cd" * 32)))
    assert other_bytes.state is State.FAILED
    assert "the console's bytes differ: abababab" in other_bytes.said[0]
    other_result = await check(Again(lambda s: replace(s, metrics={"time": 9.0})))
    assert "came again" in other_result.said[0]
    for nothing in (Again(None), None):
        assert (await check(nothing)).state is State.SKIPPED
    checks = await verify(bundle, Options(unsigned_ok=True, reruns=0))
    assert "re-run" not in [c.name for c in checks]
