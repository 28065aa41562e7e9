/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * latency: whoever needs little and just woke up runs now.
 *
 * A task's virtual time is charged by its share (nice, cpu.weight); its deadline is its virtual time
 * plus what it usually runs between two sleeps, one slice at most. So a request's handler, which
 * runs briefly, is due before a computation that stands at the same virtual time. Earliest deadline
 * first. A wake-up that finds no idle CPU takes the one whose task is due last, if that is later than
 * itself. Slices are short. A task that slept is at most `sleep_credit_us` behind the others, so one
 * that uses more than its share falls back among the computations.
 *
 * Suits: request servers, message passing, desktops, sound.
 * Bad at: raw throughput of computations, which are interrupted often.
 */
#include "schedcp_compat.bpf.h"

#include "schedcp_account.bpf.h"
#include "schedcp_preempt.bpf.h"
#include "schedcp_queues.bpf.h"

char _license[] SEC("license") = "GPL";

/* How long a task may run while another one waits. Microseconds. */
SC_LIVE u32 slice_us = 2000;

/* Virtual time that a task may save up by sleeping. Microseconds. */
SC_LIVE u32 sleep_credit_us = 20000;

/* A wake-up takes a CPU only from a task that is due later by as much. Microseconds. */
SC_LIVE u32 preempt_margin_us = 100;

/* A task that usually sleeps again this soon is let finish. Microseconds. */
SC_LIVE u32 brief_us = 300;

/* Whether wake-ups take CPUs at all. */
SC_LIVE bool preempt = true;

/* What the loader asks of the kernel, where the kernel has it. */
const volatile u32 wanted_flags =
	WANT_ENQ_MIGRATION_DISABLED | WANT_HAS_CGROUP_WEIGHT | WANT_ALLOW_QUEUED_WAKEUP;

enum { QUEUE, NR_QUEUES };

struct task_ctx {
	struct account account;
	bool synced; /* woken by a task that says it will sleep: its CPU is free soon */
};

SC_TASK_STORAGE();

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TOPOLOGY_MAX_CPUS);
	__type(key, u32);
	__type(value, struct running);
} runnings SEC(".maps");

struct vtime_line line; /* not static, or the compiler splits it and its BTF does not fit */

static struct running *running_on(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&runnings, &key);
}

static u64 slice_ns(void)
{
	return slice_us * 1000ULL;
}

static u64 virtual_us(struct task_ctx *tctx, u32 us)
{
	return vtime_charge(us * 1000ULL, tctx->account.share);
}

/* A brief one that began is not interrupted: it will be gone sooner than a switch would pay. */
static void now_runs(struct task_ctx *tctx, s32 cpu)
{
	struct running *on = running_on(cpu);

	if (on)
		running_set(on, 0, account_deadline(&tctx->account, line.now, slice_ns()),
			    account_burst(&tctx->account, slice_ns()) < brief_us * 1000ULL);
}

/* A task wants a CPU: it is counted, and what it saved by sleeping is bounded. */
static void wake(struct task_struct *p, struct account *account)
{
	bool woke = account_wake(p, account, INTENT_NORMAL);

	account_bound(account, line.now, woke, sleep_credit_us * 1000ULL, slice_ns());
}

/* ------------------------------------------------------------------ ops */

s32 SC_OP(latency_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);

	if (tctx)
		tctx->synced = wake_flags & SC_WAKE_SYNC;
	if (idle && tctx) {
		wake(p, &tctx->account);
		tctx->account.vtime = vtime_min(tctx->account.vtime, line.now);
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(), 0);
	}
	return cpu;
}

void SC_OP(latency_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	u64 due;

	if (!tctx) {
		sc_error("no context for %s[%d]", p->comm, p->pid);
		return;
	}
	wake(p, &tctx->account);
	if (is_percpu_kthread(p) && enq_flags & SC_ENQ_WAKEUP) {
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(), enq_flags | SC_ENQ_PREEMPT);
		return;
	}
	due = account_deadline(&tctx->account, line.now, slice_ns());
	queues_put(p, QUEUE, slice_ns(), due, enq_flags);
	if (!queues_wake(p) && preempt && !tctx->synced && enq_flags & SC_ENQ_WAKEUP)
		preempt_for(p, 0, due + virtual_us(tctx, preempt_margin_us));
}

/* The task that ran goes on unless another one is due before it. */
void SC_OP(latency_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_ctx *tctx = prev && prev->scx.flags & SC_TASK_QUEUED ? task_ctx(prev) : NULL;
	u64 first = 0, due;

	if (tctx) {
		account_charge(prev, &tctx->account, sc_now(), 1, false);
		due = account_deadline(&tctx->account, line.now, slice_ns());
		if (queues_next(QUEUE, cpu, 0, &first) < 0 || !vtime_before(first, due)) {
			now_runs(tctx, cpu);
			sc_set_slice(prev, slice_ns());
			return;
		}
	}
	queues_take(QUEUE, cpu, 0);
}

void SC_OP(latency_running, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx)
		return;
	now_runs(tctx, scx_bpf_task_cpu(p));
	vtime_move(&line, tctx->account.vtime, sc_now(), nr_cpus);
}

void SC_OP(latency_stopping, struct task_struct *p, bool runnable)
{
	struct task_ctx *tctx = task_ctx(p);
	struct running *on = running_on(scx_bpf_task_cpu(p));

	if (!tctx || !on)
		return;
	account_stop(p, &tctx->account, sc_now(), 1, runnable, on->kicked_at);
	running_clear(on);
}

s32 SC_OP_SLEEPABLE(latency_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *tctx = task_ctx_new(p);

	if (!tctx)
		return -ENOMEM;
	account_init(&tctx->account, args, line.now);
	return 0;
}

SC_ACCOUNT_OPS(latency);

s32 SC_OP_SLEEPABLE(latency_init)
{
	u32 cpu;

	bpf_for(cpu, 0, scx_bpf_nr_cpu_ids()) {
		struct running *on = running_on(cpu);

		if (on)
			running_clear(on);
	}
	return topology_init() ?: queues_init(NR_QUEUES);
}

SEC(".struct_ops.link")
struct sched_ext_ops latency_ops = {
	.select_cpu = (void *)latency_select_cpu,
	.enqueue = (void *)latency_enqueue,
	.dispatch = (void *)latency_dispatch,
	.running = (void *)latency_running,
	.stopping = (void *)latency_stopping,
	.init_task = (void *)latency_init_task,
	.init = (void *)latency_init,
	SC_ACCOUNT_OPS_FIELDS(latency),
	.timeout_ms = 20000,
	.name = "schedcp_latency",
};
