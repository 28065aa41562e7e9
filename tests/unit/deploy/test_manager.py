# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio

from schedcpd.deploy.endings import RESTARTS
from schedcpd.errors import (
    BusyError,
    ForeignSchedulerError,
    KilledError,
    SchedcpError,
    SchedulerHostError,
    UnsupportedError,
    VerifyError,
)
from schedcpd.model import DaemonState, ExitKind, IntentClass, OutcomeKind

from .rig import KERNEL_DEFAULT, Rig, candidate, external

RESTART = 1 << 48 | 1 << 32  # SCX_ECODE_ACT_RESTART | SCX_ECODE_RSN_HOTPLUG


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    await rig.manager.start()
    return rig


async def deploy(rig: Rig, name: str, *, asked: bool = True) -> None:
    await rig.manager.deploy(candidate(name), source="operator", asked=asked)


async def proven(rig: Rig, *names: str) -> None:
    """Deploys one after the other, each long enough to be trusted."""
    for name in names:
        await deploy(rig, name)
        await rig.pass_canary()


def state(rig: Rig) -> DaemonState:
    return rig.manager.view().state


async def test_a_swap_has_a_way_back_and_an_outcome(rig: Rig) -> None:
    await proven(rig, "a", "b")
    view = rig.manager.view()
    assert (view.state, view.ops) == (DaemonState.ACTIVE, "b")
    assert view.last_known_good is not None
    assert view.last_known_good.policy == "a"
    (ended,) = rig.told.outcomes
    assert (ended.policy, ended.kind) == ("a", OutcomeKind.REPLACED)
    assert ended.measures["latency_runs"] == 2
    assert ended.measures["latency_delay_mean_us"] == 2.0


async def test_what_did_not_prove_itself_is_no_way_back(rig: Rig) -> None:
    await proven(rig, "a", "b")
    await deploy(rig, "c")
    await deploy(rig, "d")  # c ran no time at all
    assert rig.manager.view().last_known_good.policy == "b"  # type: ignore[union-attr]


async def test_rollback_leads_to_the_last_good_then_to_the_default(rig: Rig) -> None:
    await proven(rig, "a", "b")
    await rig.manager.rollback("too slow")
    assert rig.manager.view().current.policy == "a"  # type: ignore[union-attr]
    assert rig.manager.wanted == ("a", "rollback")
    assert rig.told.rollbacks == [("b", "a", "too slow")]
    await rig.manager.rollback("still too slow")
    assert state(rig) is DaemonState.DEFAULT
    assert rig.kernel.ops == ""
    assert rig.manager.wanted == ("kernel-default", "rollback")
    with pytest.raises(SchedcpError, match="nothing to roll back"):
        await rig.manager.rollback("again")


async def test_a_rollback_that_cannot_load_ends_in_the_default(rig: Rig) -> None:
    await proven(rig, "a", "b")
    rig.machine.refuse_load = "after"
    await rig.manager.rollback("too slow")
    assert state(rig) is DaemonState.DEFAULT
    assert rig.kernel.ops == ""


async def test_a_load_that_fails_early_leaves_what_ran(rig: Rig) -> None:
    await proven(rig, "a")
    rig.machine.refuse_load = "before"
    with pytest.raises(SchedulerHostError, match="verifier said no"):
        await deploy(rig, "b")
    assert rig.manager.view().current.policy == "a"  # type: ignore[union-attr]
    assert rig.manager.view().last_known_good is None


async def test_a_load_that_fails_after_the_old_was_detached_is_undone_once(rig: Rig) -> None:
    await proven(rig, "a")
    rig.machine.refuse_load = "after"
    with pytest.raises(SchedulerHostError):
        await deploy(rig, "b")
    assert rig.machine.loads == ["sha-a", "sha-b", "sha-a"]
    assert state(rig) is DaemonState.DEFAULT  # the attach went on failing
    rig.machine.refuse_load = ""
    await proven(rig, "a")
    assert state(rig) is DaemonState.ACTIVE


async def test_a_wish_that_failed_is_not_remembered(rig: Rig) -> None:
    await proven(rig, "a")
    rig.machine.refuse_load = "before"
    with pytest.raises(SchedulerHostError):
        await deploy(rig, "b")
    assert rig.manager.wanted == ("a", "operator")


async def test_nothing_is_swapped_without_a_journal(rig: Rig) -> None:
    await proven(rig, "a")
    rig.record.unlink()
    rig.record.mkdir()  # nothing can be renamed over a directory
    with pytest.raises(SchedcpError, match="cannot record"):
        await deploy(rig, "b")
    assert rig.machine.loads == ["sha-a"]
    await rig.manager.kill("still works")
    assert rig.kernel.ops == ""


async def test_the_second_of_two_deployments_is_told_busy(rig: Rig) -> None:
    rig.admission.wait = asyncio.Event()
    first = asyncio.create_task(deploy(rig, "a"))
    await asyncio.sleep(0.01)
    with pytest.raises(BusyError):
        await deploy(rig, "b")
    rig.admission.wait.set()
    await first
    assert rig.machine.loads == ["sha-a"]


async def test_kill_detaches_latches_and_survives_a_restart(rig: Rig) -> None:
    await proven(rig, "a")
    assert await rig.manager.kill("enough") == ""
    assert (state(rig), rig.kernel.ops) == (DaemonState.KILLED, "")
    assert rig.told.outcomes[-1].kind is OutcomeKind.KILLED
    with pytest.raises(KilledError):
        await deploy(rig, "a")
    await rig.restart_daemon()
    assert state(rig) is DaemonState.KILLED
    await rig.manager.resume()
    assert state(rig) is DaemonState.DEFAULT
    assert rig.told.free == 1
    await deploy(rig, "a")


async def test_kill_overtakes_a_deployment_that_is_being_verified(rig: Rig) -> None:
    await proven(rig, "a")
    rig.admission.wait = asyncio.Event()
    task = asyncio.create_task(deploy(rig, "b"))
    await asyncio.sleep(0.01)
    await rig.manager.kill("stop")
    assert rig.kernel.ops == ""
    rig.admission.wait.set()
    with pytest.raises(SchedcpError):
        await task
    assert rig.machine.loads == ["sha-a"]


async def test_kill_does_not_wait_for_a_load_that_hangs(tmp_path: Path) -> None:
    rig = Rig(tmp_path, kill_wait_s=0.05)
    await rig.manager.start()
    rig.machine.hang_load = True
    task = asyncio.create_task(deploy(rig, "a"))
    await asyncio.sleep(0.01)
    await asyncio.wait_for(rig.manager.kill("stop"), 5)
    with pytest.raises(SchedcpError):
        await task
    assert rig.kernel.ops == ""
    assert state(rig) is DaemonState.KILLED


async def test_the_latch_file_made_by_hand_is_obeyed(rig: Rig) -> None:
    await proven(rig, "a")
    rig.kill_path.write_text("by hand\n")
    await rig.manager.check()
    assert (state(rig), rig.kernel.ops) == (DaemonState.KILLED, "")
    assert rig.manager.view().reason == "by hand"


async def test_an_ejection_is_recorded_quarantined_and_led_back(rig: Rig) -> None:
    await proven(rig, "a", "b")
    rig.machine.end(ExitKind.ERROR_STALL, "runnable task stall")
    await rig.settle()
    assert rig.manager.view().current.policy == "a"  # type: ignore[union-attr]
    assert rig.manager.view().current.source == "fallback"  # type: ignore[union-attr]
    assert "runnable task stall" in rig.manager.quarantined("sha-b", {})
    ended = rig.told.outcomes[-1]
    assert (ended.kind, ended.policy) == (OutcomeKind.EJECTED, "b")
    assert ended.exit is not None
    assert ended.exit.kind == ExitKind.ERROR_STALL
    assert len(rig.told.ejections) == 1
    with pytest.raises(VerifyError, match="quarantined"):
        await deploy(rig, "b", asked=False)
    await deploy(rig, "b")  # an operator's word lifts it
    assert rig.manager.quarantined("sha-b", {}) == ""


async def test_the_kernel_may_tell_before_the_host_knows(rig: Rig) -> None:
    await proven(rig, "a", "b")
    rig.kernel.ops = ""  # taken apart; the host has not been told why
    look = asyncio.create_task(rig.manager.check())
    await asyncio.sleep(0.01)
    rig.machine.end(ExitKind.ERROR, "a fault")
    await look
    await rig.settle()
    assert rig.told.outcomes[-1].kind is OutcomeKind.EJECTED
    assert rig.manager.view().current.policy == "a"  # type: ignore[union-attr]


async def test_an_ejection_without_another_to_go_to_ends_in_the_default(rig: Rig) -> None:
    await proven(rig, "a")
    rig.machine.end(ExitKind.ERROR)
    await rig.settle()
    assert state(rig) is DaemonState.DEFAULT
    assert rig.machine.loads == ["sha-a"]  # no blind retry
    assert rig.told.rollbacks[-1][:2] == ("a", "kernel-default")


async def test_hotplug_asks_for_a_reload_of_the_same(rig: Rig) -> None:
    await proven(rig, "a")
    for _ in range(RESTARTS):  # a laptop sleeps: one CPU after the other
        rig.machine.end(ExitKind.UNREG_KERN, "hotplug", RESTART)
        await rig.settle()
        assert rig.manager.view().current.policy == "a"  # type: ignore[union-attr]
    assert len(rig.machine.loads) == 1 + RESTARTS
    rig.clock.pass_s(60)
    rig.machine.end(ExitKind.UNREG_KERN, "hotplug", RESTART)
    await rig.settle()
    assert rig.manager.view().current.policy == "a"  # type: ignore[union-attr]
    for _ in range(RESTARTS):
        if state(rig) is DaemonState.ACTIVE:
            rig.machine.end(ExitKind.UNREG_KERN, "hotplug", RESTART)
            await rig.settle()
    assert state(rig) is DaemonState.DEFAULT  # that often in a minute is no hotplug any more


async def test_sysrq_counts_as_the_kill_switch(rig: Rig) -> None:
    await proven(rig, "a", "b")
    rig.machine.end(ExitKind.SYSRQ, "disabled by sysrq-S")
    await rig.settle()
    assert (state(rig), rig.kernel.ops) == (DaemonState.KILLED, "")
    await rig.restart_daemon()
    assert state(rig) is DaemonState.KILLED


async def test_the_hosts_end_is_an_operators_stop(rig: Rig) -> None:
    await proven(rig, "a", "b")
    rig.machine.die()
    await rig.settle()
    assert state(rig) is DaemonState.DEFAULT
    assert "scheduler host ended" in rig.manager.view().reason
    assert not rig.machine.alive  # nothing woke it again
    assert rig.told.outcomes[-1].kind is OutcomeKind.LOST
    with pytest.raises(BusyError, match="held back"):
        await deploy(rig, "a", asked=False)
    await deploy(rig, "a")
    assert state(rig) is DaemonState.ACTIVE


async def test_a_restarted_daemon_adopts_what_runs(rig: Rig) -> None:
    rig.manager.intents.set(7, IntentClass.BATCH)
    await proven(rig, "a", "b")
    seq = rig.kernel.seq
    await rig.restart_daemon()
    view = rig.manager.view()
    assert (view.state, rig.kernel.seq) == (DaemonState.ACTIVE, seq)
    assert view.current.policy == "b"  # type: ignore[union-attr]
    assert view.last_known_good.policy == "a"  # type: ignore[union-attr]
    rig.manager.intents.set(9, IntentClass.LATENCY)
    await rig.manager.intents.flush()
    assert rig.machine.intents[9] is IntentClass.LATENCY


@pytest.mark.parametrize("asked", [True, False])
async def test_a_daemon_that_died_in_the_swap_adopts_the_new_one(rig: Rig, asked: bool) -> None:
    await proven(rig, "a")
    before = rig.manager.wanted
    host = rig.machine.host
    assert host is not None
    original, die = host.load, RuntimeError("the daemon died here")

    async def load_and_die(**params: object) -> None:
        await original(**params)  # type: ignore[arg-type]
        raise die

    host.load = load_and_die  # type: ignore[assignment,method-assign]
    with pytest.raises(RuntimeError):
        await deploy(rig, "b", asked=asked)
    await rig.restart_daemon()
    assert rig.manager.view().current.policy == "b"  # type: ignore[union-attr]
    assert rig.manager.wanted == (("b", "operator") if asked else before)
    assert rig.manager.view().last_known_good.policy == "a"  # type: ignore[union-attr]


async def test_a_host_that_holds_something_unaccounted_is_emptied(rig: Rig) -> None:
    await proven(rig, "a")
    rig.record.unlink()
    await rig.restart_daemon()
    assert (state(rig), rig.kernel.ops) == (DaemonState.DEFAULT, "")


async def test_a_damaged_record_is_set_aside(rig: Rig) -> None:
    rig.record.write_text('{"version": 1, "current": {"id": 3}}')
    await rig.restart_daemon()
    assert "damaged" in rig.told.notes[-1]
    assert rig.record.with_name("deploy.json.corrupt").exists()


async def test_a_host_stopped_while_the_daemon_was_dead(rig: Rig) -> None:
    await proven(rig, "a")
    rig.machine.host = None
    rig.machine.die()
    await rig.restart_daemon()
    assert state(rig) is DaemonState.DEFAULT
    assert "while schedcpd was not running" in rig.manager.view().reason


async def test_a_socket_stopped_while_the_daemon_was_dead_is_a_kill(rig: Rig) -> None:
    await proven(rig, "a")
    rig.machine.host = None
    rig.machine.die()
    rig.machine.socket = False
    await rig.restart_daemon()
    assert state(rig) is DaemonState.KILLED
    assert "schedcp-scheduler.socket was stopped" in rig.manager.view().reason


async def test_an_ejection_while_the_daemon_was_dead_is_recorded(rig: Rig) -> None:
    await proven(rig, "a")
    rig.machine.host = None
    rig.machine.end(ExitKind.ERROR, "stall")
    await rig.restart_daemon()
    assert "stall" in rig.manager.quarantined("sha-a", {})


async def test_a_reboot_begins_anew(rig: Rig) -> None:
    await proven(rig, "a")
    rig.machine.host = None
    rig.machine.die()
    rig.kernel.boot = "boot-2"
    await rig.restart_daemon()
    assert state(rig) is DaemonState.DEFAULT
    await deploy(rig, "a", asked=False)


async def test_a_foreign_scheduler_is_never_touched(rig: Rig) -> None:
    rig.kernel.attach("scx_rusty")
    await rig.manager.check()
    view = rig.manager.view()
    assert (view.state, view.ops) == (DaemonState.FOREIGN, "scx_rusty")
    with pytest.raises(ForeignSchedulerError):
        await deploy(rig, "a")
    await rig.restart_daemon()
    assert rig.kernel.ops == "scx_rusty"
    rig.kernel.ops = ""
    free = rig.told.free
    await rig.manager.check()
    assert state(rig) is DaemonState.DEFAULT
    assert rig.told.free == free + 1


async def test_automatic_deployments_are_limited_and_failures_wait(rig: Rig) -> None:
    for number in range(rig.limits.max_per_hour):
        await deploy(rig, f"s{number}", asked=False)
    with pytest.raises(BusyError, match="no more are allowed"):
        await deploy(rig, "one-too-many", asked=False)
    rig.clock.pass_s(3601)
    rig.machine.refuse_load = "before"
    with pytest.raises(SchedulerHostError):
        await deploy(rig, "bad", asked=False)
    rig.machine.refuse_load = ""
    with pytest.raises(BusyError, match="failed before"):
        await deploy(rig, "bad", asked=False)
    rig.clock.pass_s(rig.limits.hold_down_s)
    await deploy(rig, "bad", asked=False)


async def test_no_verdict_no_deployment(rig: Rig) -> None:
    await proven(rig, "a")
    rig.admission.refuse = True
    with pytest.raises(VerifyError):
        await deploy(rig, "b")
    assert rig.manager.view().current.policy == "a"  # type: ignore[union-attr]


async def test_an_unsupported_kernel_changes_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.kernel.missing = "no sched_ext"
    rig.manager = rig._new()
    await rig.manager.start()
    await rig.manager.check()
    assert state(rig) is DaemonState.UNSUPPORTED
    with pytest.raises(UnsupportedError):
        await deploy(rig, "a")
    assert not rig.machine.alive


async def test_the_kernels_default_on_request(rig: Rig) -> None:
    await proven(rig, "a")
    await rig.manager.deploy(KERNEL_DEFAULT, source="operator", asked=True)
    assert (state(rig), rig.kernel.ops) == (DaemonState.DEFAULT, "")
    assert rig.manager.wanted == ("kernel-default", "operator")
    await rig.restart_daemon()
    assert rig.manager.wanted == ("kernel-default", "operator")


async def test_intents_are_written_live_without_a_reload(rig: Rig) -> None:
    table = rig.manager.intents
    table.set(1, IntentClass.BATCH)
    await deploy(rig, "a")
    assert rig.machine.intents == {1: IntentClass.BATCH}
    seq = rig.kernel.seq
    table.set(1, IntentClass.LATENCY)
    table.set(2, IntentClass.NORMAL)
    table.set(3, IntentClass.NORMAL)
    table.remove(3)
    await table.flush()
    assert rig.machine.intents == {1: IntentClass.LATENCY, 2: IntentClass.NORMAL}
    assert (rig.kernel.seq, table.writes) == (seq, 1)
    table.remove(1)
    await table.flush()
    assert rig.machine.intents == {2: IntentClass.NORMAL}


async def test_only_a_lost_connection_is_mended_without_a_reload(rig: Rig) -> None:
    await proven(rig, "a")
    host, rig.machine.host = rig.machine.host, None
    assert host is not None
    host.closed()
    await rig.settle()
    assert rig.machine.loads == ["sha-a"]
    assert state(rig) is DaemonState.ACTIVE


async def test_an_external_scheduler_is_run_and_led_back_from_like_any_other(rig: Rig) -> None:
    await proven(rig, "a")
    await rig.manager.deploy(external("scx_toy", "gaming"), source="operator", asked=True)
    assert rig.machine.programs == [("scx_toy", "gaming")]
    assert rig.manager.wanted == ("scx_toy-gaming", "operator")
    rig.machine.end(ExitKind.ERROR, "its program crashed by SIGABRT")
    await rig.settle()
    assert rig.manager.view().current.policy == "a"  # type: ignore[union-attr]
    assert rig.told.rollbacks[-1][:2] == ("scx_toy-gaming", "a")
    assert "SIGABRT" in rig.manager.quarantined("sha-scx_toy", {})


async def test_an_external_scheduler_is_what_is_gone_back_to(rig: Rig) -> None:
    await rig.manager.deploy(external("scx_toy", "server"), source="operator", asked=True)
    await rig.pass_canary()
    await deploy(rig, "a")
    await rig.restart_daemon()  # what to go back to is on disk
    await rig.manager.rollback("too slow")
    assert rig.machine.programs == [("scx_toy", "server")] * 2
    assert rig.kernel.ops == "scx_toy"


async def test_one_mode_is_the_way_back_from_another(rig: Rig) -> None:
    await rig.manager.deploy(external("scx_toy", "auto"), source="operator", asked=True)
    await rig.pass_canary()
    await rig.manager.deploy(external("scx_toy", "gaming"), source="operator", asked=True)
    back = rig.manager.view().last_known_good
    assert back is not None
    assert (back.policy, back.external) == ("scx_toy-auto", True)


async def test_an_external_scheduler_that_left_the_kernel_is_started_again(rig: Rig) -> None:
    await rig.manager.deploy(external("scx_toy"), source="operator", asked=True)
    rig.machine.end(ExitKind.UNREG_KERN, "left the kernel", RESTART)
    await rig.settle()
    assert rig.machine.programs == [("scx_toy", "auto")] * 2
    assert state(rig) is DaemonState.ACTIVE


async def test_a_program_killed_by_an_operator_stays_off(rig: Rig) -> None:
    await proven(rig, "a")
    await rig.manager.deploy(external("scx_toy"), source="operator", asked=True)
    rig.machine.end(ExitKind.UNREG, "its program was killed by SIGKILL")
    await rig.settle()
    assert state(rig) is DaemonState.DEFAULT
    assert "SIGKILL" in rig.manager.held
