/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * throughput: tasks stay where their caches are, and run long.
 *
 * Every CPU has a queue of its own, ordered by virtual time; a task waits on the CPU where it ran
 * last and takes long slices. A CPU that has nothing takes from the others, those of its
 * last-level cache first in number. One that has something looks elsewhere only for a task that
 * stands further back than its own by `balance_us`, so that all get their share in the end. No
 * wake-up interrupts a computation.
 *
 * Suits: builds, compressors, batches, databases' bulk work.
 * Bad at: latency: a wake-up beside CPU hogs waits for the end of a slice.
 */
#include "schedcp_compat.bpf.h"

#define QUEUES_BY_CPU
#include "schedcp_account.bpf.h"
#include "schedcp_queues.bpf.h"

char _license[] SEC("license") = "GPL";

/* How long a task may run while another one waits. Microseconds. */
SC_LIVE u32 slice_us = 20000;

/* A task that waits elsewhere is fetched when it stands further back by as much. Microseconds. */
SC_LIVE u32 balance_us = 40000;

/* Virtual time that a task may save up by sleeping. Microseconds. */
SC_LIVE u32 sleep_credit_us = 10000;

/* What the loader asks of the kernel, where the kernel has it. */
const volatile u32 wanted_flags =
	WANT_ENQ_MIGRATION_DISABLED | WANT_HAS_CGROUP_WEIGHT | WANT_ALLOW_QUEUED_WAKEUP;

enum { QUEUE, NR_QUEUES };

struct task_ctx {
	struct account account;
};

SC_TASK_STORAGE();

struct vtime_line line; /* not static, or the compiler splits it and its BTF does not fit */

static u64 slice_ns(void)
{
	return slice_us * 1000ULL;
}

/* A task wants a CPU: it is counted, and what it saved by sleeping is bounded. */
static void wake(struct task_struct *p, struct account *account)
{
	bool woke = account_wake(p, account, INTENT_NORMAL);

	account_bound(account, line.now, woke, sleep_credit_us * 1000ULL, slice_ns());
}

/* ------------------------------------------------------------------ ops */

s32 SC_OP(throughput_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags & ~SC_WAKE_SYNC, &idle);

	if (idle && tctx) {
		wake(p, &tctx->account);
		tctx->account.vtime = vtime_min(tctx->account.vtime, line.now);
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(), 0);
	}
	return cpu;
}

void SC_OP(throughput_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx) {
		sc_error("no context for %s[%d]", p->comm, p->pid);
		return;
	}
	wake(p, &tctx->account);
	if (is_percpu_kthread(p) && enq_flags & SC_ENQ_WAKEUP) {
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(), enq_flags | SC_ENQ_PREEMPT);
		return;
	}
	queues_put(p, QUEUE, slice_ns(), tctx->account.vtime, enq_flags);
	queues_wake(p);
}

/* The task that ran goes on unless another one stands further back. */
void SC_OP(throughput_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_ctx *tctx = prev && prev->scx.flags & SC_TASK_QUEUED ? task_ctx(prev) : NULL;
	u64 first = 0;
	s64 next;

	if (tctx) {
		vtime_move(&line, tctx->account.vtime, sc_now(), nr_cpus);
		account_charge(prev, &tctx->account, sc_now(), 1, false);
		next = queues_next(QUEUE, cpu, queues_lag(balance_us), &first);
		if (next >= 0 && next != queue_place(cpu))
			first += queues_lag(balance_us);
		if (next < 0 || !vtime_before(first, tctx->account.vtime)) {
			sc_set_slice(prev, slice_ns());
			return;
		}
	}
	queues_take(QUEUE, cpu, queues_lag(balance_us));
}

void SC_OP(throughput_stopping, struct task_struct *p, bool runnable)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx)
		return;
	vtime_move(&line, tctx->account.vtime, sc_now(), nr_cpus);
	account_stop(p, &tctx->account, sc_now(), 1, runnable, false);
}

s32 SC_OP_SLEEPABLE(throughput_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *tctx = task_ctx_new(p);

	if (!tctx)
		return -ENOMEM;
	account_init(&tctx->account, args, line.now);
	return 0;
}

SC_ACCOUNT_OPS(throughput);

s32 SC_OP_SLEEPABLE(throughput_init)
{
	return topology_init() ?: queues_init(NR_QUEUES);
}

SEC(".struct_ops.link")
struct sched_ext_ops throughput_ops = {
	.select_cpu = (void *)throughput_select_cpu,
	.enqueue = (void *)throughput_enqueue,
	.dispatch = (void *)throughput_dispatch,
	.stopping = (void *)throughput_stopping,
	.init_task = (void *)throughput_init_task,
	.init = (void *)throughput_init,
	SC_ACCOUNT_OPS_FIELDS(throughput),
	.timeout_ms = 20000,
	.name = "schedcp_throughput",
};
