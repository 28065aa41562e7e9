# SPDX-License-Identifier: Apache-2.0
"""Comparisons and scores of runs whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from schedbench.codec import to_json
from schedbench.errors import BenchError, RecordError, UnlikeError
from schedbench.evaluate.compare import Verdict, baseline_of, compare, standings
from schedbench.evaluate.data import Data, merge
from schedbench.evaluate.results import differences, dump, load, results
from schedbench.evaluate.score import score
from schedbench.model import Better, Clock, Metric, Sample, SampleState, Slo

from .synthetic import TIME, data, lose, noisy, record, reread, workload, write


def exactly(**seconds: float) -> Callable[[str, int, int], float]:
    """Nothing but a hair of noise, so that ties do not matter."""
    return lambda arm, number, seed: seconds[arm] * (1 + 1e-9 * seed)


def lost(one: Data, arm: str, seeds: set[int], name: str = "w00") -> Data:
    state = SampleState.HANG
    return replace(
        one,
        samples=tuple(
            lose(s, state)
            if (s.key.arm, s.key.workload) == (arm, name) and s.key.seed in seeds
            else s
            for s in one.samples
        ),
    )


def test_the_score_by_hand() -> None:
    """Time 2 -> 1 s: I is 2 for the time, 2 for the rate. Weights 3:1, the other workload 1.25."""
    of = record(2)
    of = replace(of, suite=replace(of.suite, weights={"w00": 3.0, "w01": 1.0}, lambda_=0.5))

    def truth(arm: str, number: int, seed: int) -> float:
        return (2.0, 1.0)[number] if arm == "default" else (1.0, 0.8)[number]

    run = data(of, truth, lambda s: replace(s, overuse=0.2 if s.key.arm == "other" else 0.0))
    found = score(run, "default", "other")
    assert found.score == pytest.approx(0.75 * 2 + 0.25 * 1.25 - 0.5 * 0.2, rel=1e-5)
    assert found.geomean == pytest.approx(2**0.75 * 1.25**0.25, rel=1e-5)
    assert found.overuse == pytest.approx(0.2)
    assert (found.score_low, found.score_high) == pytest.approx((found.score,) * 2, rel=1e-5)
    assert [term.contribution for term in found.terms] == pytest.approx([1.5, 0.3125], rel=1e-5)
    assert found.verdict is Verdict.WIN


def test_alphas_weigh_metrics_and_each_ratio_is_clipped() -> None:
    steady = Metric("steady", "s", Better.LOWER, "json:steady", alpha=1.0)
    time = Metric("time", "s", Better.LOWER, "elapsed", alpha=3.0)
    of = record([workload("w00", metrics=(time, steady), slos=())])
    run = data(
        of,
        exactly(default=100.0, other=1.0),
        lambda s: replace(s, metrics={"time": s.metrics["time"], "steady": 5.0}),
    )
    found = score(run, "default", "other")
    assert found.score == pytest.approx(0.75 * 4.0 + 0.25 * 1.0)
    assert found.geomean == pytest.approx(4.0**0.75)
    slow = score(
        data(
            of,
            exactly(default=1.0, other=100.0),
            lambda s: replace(s, metrics={"time": s.metrics["time"], "steady": 5.0}),
        ),
        "default",
        "other",
    )
    assert slow.score == pytest.approx(0.75 * 0.25 + 0.25)


def test_a_broken_hard_slo_takes_the_workload_and_a_soft_one_does_not() -> None:
    run = data(record(2), lambda arm, number, _: 1.3 if (arm, number) == ("other", 0) else 1.0)
    found = score(run, "default", "other")
    first = found.terms[0]
    assert (first.slos_met, first.contribution) == (False, 0.0)
    assert "time is 1.3 of the baseline's, at most 1.25" in first.broken[0]
    assert "soft: rate" in first.broken[1]
    assert found.score == pytest.approx(0.5)
    assert found.geomean == pytest.approx(0.25**0.5)
    soft = replace(run.record.workloads[0], slos=(Slo("time", 1.25, hard=False),))
    of = replace(run.record, workloads=(soft, run.record.workloads[1]))
    found = score(replace(run, record=of), "default", "other")
    assert found.terms[0].slos_met
    assert "soft: time" in found.terms[0].broken[0]
    assert found.score == pytest.approx(0.5 + 0.5 / 1.3, rel=1e-4)


def test_doing_nothing_scores_one() -> None:
    found = score(data(record(8), noisy(1)), "default", "other")
    assert found.score == pytest.approx(1.0, abs=0.03)
    assert found.score_high is not None and found.score_low < 1 < found.score_high
    assert found.verdict is Verdict.EQUAL


@pytest.mark.parametrize(
    "state", [SampleState.FAILED, SampleState.HANG, SampleState.VM_DIED, SampleState.MARKED]
)
def test_a_fast_failure_is_a_loss(state: SampleState) -> None:
    """The arm fails once in six boots and is ten times as fast otherwise, fast failure too."""
    run = data(
        record(1),
        exactly(default=1.0, other=0.1),
        lambda s: (
            replace(s, state=state, reason="it did")
            if (s.key.arm, s.key.seed) == ("other", 3)
            else s
        ),
    )
    found = score(run, "default", "other")
    assert not found.terms[0].slos_met
    assert found.terms[0].broken == ("hard: lost 17% of its samples, the baseline 0%",)
    assert found.score == 0.0
    standing = next(s for s in standings(run) if s.arm == "other")
    assert (standing.ok, standing.lost, standing.reasons) == (5, {state.value: 1}, ("it did",))


def test_losses_that_the_baseline_has_too_are_ties_not_wins() -> None:
    run = data(record(1), exactly(default=1.0, other=1.0))
    both = lost(lost(run, "default", {1, 2}), "other", {3, 4})
    found = score(both, "default", "other")
    assert found.terms[0].slos_met
    assert found.score == pytest.approx(1.0, rel=1e-6)
    every = lost(run, "default", {1, 2, 3, 4, 5, 6})
    found = score(every, "default", "other")
    assert found.score == 0.0
    assert found.terms[0].broken == ("default lost every sample",)
    (row,) = (r for r in compare(every, "default") if r.primary)
    assert row.ratio is None and row.baseline_median is None


def test_faults_of_the_environment_do_not_shrink_the_denominator() -> None:
    run = data(record(4), exactly(default=1.0, other=1.0))
    gone = tuple(
        replace(s, state=SampleState.INFRASTRUCTURE, reason="no space", metrics={})
        if (s.key.arm, s.key.workload) == ("other", "w01")
        else s
        for s in run.samples
    )
    found = results(replace(run, samples=gone))
    assert found.incomplete
    assert found.scores[0].score == pytest.approx(0.75, rel=1e-6)
    assert found.scores[0].terms[1].broken == ("no sample of other to compare",)
    standing = next(s for s in found.standings if (s.arm, s.workload) == ("other", "w01"))
    assert (standing.ok, standing.missing, standing.planned) == (0, 6, 6)
    row = next(r for r in found.comparisons if (r.workload, r.primary) == ("w01", True))
    assert row.verdict is Verdict.NONE
    # Workloads that the suite names and nobody ran count as nothing as well.
    kept = replace(run.record, workloads=run.record.workloads[:3])
    assert score(replace(run, record=kept), "default", "other").score == pytest.approx(
        0.75, rel=1e-6
    )


def test_a_real_difference_is_found_and_a_small_one_is_no_win() -> None:
    found = results(
        data(
            record(10, ("default", "fast", "slow", "bit")),
            noisy(4, spread=0.01, fast=0.8, slow=1.2, bit=0.97),
        )
    )
    by = {
        arm: [r for r in found.comparisons if r.arm == arm and r.primary]
        for arm in ("fast", "slow", "bit")
    }
    assert {row.verdict for row in by["fast"]} == {Verdict.WIN}
    assert {row.verdict for row in by["slow"]} == {Verdict.LOSS}
    assert Verdict.WIN not in {row.verdict for row in by["bit"]}
    assert all(row.low <= 1 / 0.8 <= (row.high or math.inf) for row in by["fast"][:5])
    assert [s.verdict for s in found.scores] == [Verdict.WIN, Verdict.LOSS, Verdict.EQUAL]


def test_pairs_see_what_seeds_would_hide() -> None:
    """Seeds differ threefold; the arm is 8% faster on each."""

    def truth(arm: str, number: int, seed: int) -> float:
        return 3 ** (seed / 5) * (0.92 if arm == "other" else 1.0) * (1 + 1e-4 * (seed % 3))

    seeds = range(1, 11)
    pairs = data(record(1, seeds=seeds, clock=Clock.VIRTUAL), truth)
    boots = data(record(1, seeds=seeds), truth)
    (one,) = (r for r in compare(pairs, "default") if r.primary)
    (other,) = (r for r in compare(boots, "default") if r.primary)
    assert (one.paired, one.verdict, one.unstable) == (True, Verdict.WIN, False)
    assert one.ratio == pytest.approx(1 / 0.92, rel=1e-3)
    assert (other.paired, other.verdict, other.unstable) == (False, Verdict.OPEN, True)
    # A seed that one arm has no result for is no pair.
    fewer = replace(
        pairs, samples=tuple(s for s in pairs.samples if (s.key.arm, s.key.seed) != ("default", 4))
    )
    (row,) = (r for r in compare(fewer, "default") if r.primary)
    assert (row.baseline_n, row.arm_n) == (9, 9)


def test_no_op_suites_show_a_difference_no_more_often_than_stated() -> None:
    """200 suites of 16 workloads, two alike arms, 10% noise: a win or loss anywhere in at most 5%
    of the suites (and three standard errors for chance)."""
    of = record([workload(f"w{n}", metrics=(TIME,), slos=()) for n in range(16)])
    suites = 200
    false = sum(
        any(
            row.primary and row.verdict in (Verdict.WIN, Verdict.LOSS)
            for row in compare(data(of, noisy(seed, spread=0.1), series=False), "default")
        )
        for seed in range(suites)
    )
    assert false / suites <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / suites)


def test_smoke_says_that_it_cannot_show_a_win() -> None:
    found = results(data(record(2, seeds=(1, 2, 3)), noisy(1, other=0.5)))
    assert any("3 samples of 2 workloads can show no win" in note for note in found.notes)
    assert {row.verdict for row in found.comparisons} == {Verdict.OPEN}
    (one,) = found.scores
    assert (one.verdict, one.score_low, one.score_high) == (Verdict.OPEN, 0.0, None)
    assert (one.geomean_low, one.geomean_high) == (0.0, None)
    assert not results(data(record(2), noisy(1))).notes


def test_results_survive_their_file_and_every_changed_number_is_named() -> None:
    found = results(lost(data(record(2), noisy(2)), "default", {1, 2, 3, 4}))
    assert load(dump(found)) == found
    other = replace(found, scores=(replace(found.scores[0], score=found.scores[0].score + 1e-6),))
    assert [line.split(":")[0] for line in differences(to_json(found), to_json(other))] == [
        "scores[0].score"
    ]
    assert differences(to_json(found), to_json(found)) == []
    with pytest.raises(RecordError, match="version"):
        load(dump(found).replace('"version": 1', '"version": 2'))


def test_the_same_samples_give_the_same_results_in_any_order() -> None:
    run = data(record(3), noisy(9))
    assert results(run) == results(replace(run, samples=tuple(reversed(run.samples))))


def test_runs_are_read_and_alike_ones_are_merged(tmp_path: Path) -> None:
    of = record(2, ("default", "one"))
    write(tmp_path / "a", of, noisy(1), lambda s: s)
    more = replace(record(2, ("default", "two"), seeds=range(11, 17)), began=2.0e9)
    write(tmp_path / "b", more, noisy(2), lambda s: s)
    whole = merge([reread(tmp_path / "a"), reread(tmp_path / "b")])
    found = results(whole)
    assert [s.arm for s in found.scores] == ["one", "two"]
    assert not found.incomplete
    assert {row.baseline_n for row in found.comparisons} == {12}
    assert "not interleaved" in found.notes[0]
    with pytest.raises(UnlikeError, match="would count twice"):
        merge([reread(tmp_path / "a"), reread(tmp_path / "a")])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kernel", "7.4.0"),
        ("image", "other"),
        ("profile", "vcpus8"),
        ("size", "full"),
        ("clock", Clock.VIRTUAL),
        ("qemu", "11.0"),
        ("instrument", "another"),
    ],
)
def test_unlike_runs_are_refused_by_what_differs(field: str, value: str) -> None:
    one = data(record(1), noisy(1))
    changed = replace(one.record.environment, **{field: value})
    other = replace(one, record=replace(one.record, environment=changed))
    with pytest.raises(UnlikeError, match=f"environment.{field}"):
        merge([one, other])


def test_another_version_of_a_workload_or_suite_is_unlike() -> None:
    one = data(record(2), noisy(1))
    altered = replace(one.record.workloads[1], digest="something else")
    record_ = replace(one.record, workloads=(one.record.workloads[0], altered))
    with pytest.raises(UnlikeError, match=r"workloads\.w01"):
        merge([one, replace(one, record=record_)])
    suite = replace(one.record.suite, lambda_=9.0)
    with pytest.raises(UnlikeError, match="suite"):
        merge([one, replace(one, record=replace(one.record, suite=suite))])


def test_virtual_results_with_other_bytes_are_not_merged() -> None:
    of = record(1, clock=Clock.VIRTUAL)
    one = data(of, noisy(1), lambda s: replace(s, digest="aa"))
    other = replace(one, samples=tuple(replace(s, digest="bb") for s in one.samples))
    with pytest.raises(UnlikeError, match="other bytes"):
        merge([one, other])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": {"w00": 1.0}}, "weights.w01"),
        ({"weights": {"w00": 1.0, "w01": -1.0}}, "weights.w01"),
        ({"weights": {"w00": 0.0, "w01": 0.0}}, "sum to 0"),
        ({"clip": (2.0, 4.0)}, "clip"),
        ({"clip": (0.0, 4.0)}, "clip"),
    ],
)
def test_a_suite_that_cannot_be_scored_is_refused(changes: dict[str, object], said: str) -> None:
    one = data(record(2), noisy(1))
    suite = replace(one.record.suite, **changes)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match=said):
        score(replace(one, record=replace(one.record, suite=suite)), "default", "other")


def test_the_baseline_must_be_an_arm() -> None:
    one = data(record(1, ("tuned", "other")), noisy(1))
    assert baseline_of(one) == "tuned"
    with pytest.raises(BenchError, match="no arm default"):
        baseline_of(one, "default")


def test_the_suites_interval_covers_the_truth_about_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """60 suites of six boots; the bound allows for three standard errors of chance."""
    monkeypatch.setattr("schedbench.evaluate.score.ROUNDS", 1000)
    of = record([workload(f"w{n}", slos=()) for n in range(6)])
    truth = 0.75 / 0.9 + 0.25 / 0.9
    hits = 0
    for seed in range(60):
        found = score(data(of, noisy(seed, spread=0.05, other=0.9)), "default", "other")
        assert found.score_high is not None
        hits += found.score_low <= truth <= found.score_high
    assert hits >= 60 * (0.95 - 3 * math.sqrt(0.95 * 0.05 / 60))


def test_samples_are_what_the_runner_wrote(tmp_path: Path) -> None:
    def alien(one: Sample) -> Sample:
        return replace(one, key=replace(one.key, arm="alien"))

    write(tmp_path, record(1, seeds=(1,), arms=("default",)), noisy(1), alien)
    with pytest.raises(BenchError, match="no workload or arm of this run"):
        reread(tmp_path)
