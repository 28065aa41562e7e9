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
#include "schedcp_idle.bpf.h"
#include "schedcp_preempt.bpf.h"
#include "schedcp_queues.bpf.h"

char _license[] SEC("license") = "GPL";

/* How long a task may run while another one waits. Microseconds. */
const volatile u32 slice_us = 2000;

/* Virtual time that a task may save up by sleeping. Microseconds. */
const volatile u32 sleep_credit_us = 20000;

/* A wake-up takes a CPU only from a task that is due later by as much. Microseconds. */
const volatile u32 preempt_margin_us = 100;

/* A task that usually sleeps again this soon is let finish. Microseconds. */
const volatile u32 brief_us = 300;

/* Whether wake-ups take CPUs at all. */
const volatile bool preempt = true;

/* What the loader asks of the kernel, where the kernel has it. */
const volatile u32 wanted_flags = WANT_ENQ_MIGRATION_DISABLED | WANT_HAS_CGROUP_WEIGHT |
				  WANT_ALLOW_QUEUED_WAKEUP;

enum { QUEUE, NR_QUEUES };

struct task_ctx {
	struct account account;
	u64 burst_ns;	/* usual run time between two sleeps */
	u64 awake_ns;	/* run time since the last sleep */
};

SC_TASK_STORAGE();

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TOPOLOGY_MAX_CPUS);
	__type(key, u32);
	__type(value, struct running);
} runnings SEC(".maps");

static u64 vtime_now;

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

/* A task that has run longer than usual is taken for what it shows itself to be. */
static u64 burst_ns(struct task_ctx *tctx)
{
	u64 burst = tctx->burst_ns > tctx->awake_ns ? tctx->burst_ns : tctx->awake_ns;

	return burst < slice_ns() ? burst : slice_ns();
}

static u64 deadline(struct task_ctx *tctx)
{
	return tctx->account.vtime + vtime_charge(burst_ns(tctx), tctx->account.share);
}

/* A brief one that began is not interrupted: it will be gone sooner than a switch would pay. */
static void now_runs(struct task_ctx *tctx, s32 cpu)
{
	struct running *on = running_on(cpu);

	if (on)
		running_set(on, 0, deadline(tctx), burst_ns(tctx) < brief_us * 1000ULL);
}

static void charge(struct task_struct *p, struct task_ctx *tctx, bool preempted)
{
	tctx->awake_ns += account_charge(p, &tctx->account, sc_now(), 1, preempted);
}

/* ------------------------------------------------------------------ ops */

s32 SC_OP(latency_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);

	if (idle)
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(), 0);
	return cpu;
}

void SC_OP(latency_runnable, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	struct account *account;

	if (!tctx)
		return;
	account = &tctx->account;
	intents_refresh(p, &account->intent, INTENT_NORMAL);
	account_runnable(p, account, sc_now());
	account->vtime = vtime_max(account->vtime, vtime_now - virtual_us(tctx, sleep_credit_us));
	tctx->awake_ns = 0;
}

void SC_OP(latency_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	u64 due;

	if (!tctx) {
		sc_error("no context for %s[%d]", p->comm, p->pid);
		return;
	}
	if (is_percpu_kthread(p) && enq_flags & SC_ENQ_WAKEUP) {
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(), enq_flags | SC_ENQ_PREEMPT);
		return;
	}
	due = deadline(tctx);
	sc_insert_vtime(p, queue_at(QUEUE, scx_bpf_task_cpu(p)), slice_ns(), due, enq_flags);
	if (!idle_wake(p) && preempt && enq_flags & SC_ENQ_WAKEUP)
		preempt_for(p, 0, due + virtual_us(tctx, preempt_margin_us));
}

/* The task that ran goes on unless another one is due before it. */
void SC_OP(latency_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_ctx *tctx = prev && prev->scx.flags & SC_TASK_QUEUED ? task_ctx(prev) : NULL;
	u64 first = 0;

	if (tctx) {
		charge(prev, tctx, false);
		if (queues_next(QUEUE, cpu, 0, &first) < 0 || !vtime_before(first, deadline(tctx))) {
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
	account_running(&tctx->account, sc_now());
	now_runs(tctx, scx_bpf_task_cpu(p));
	vtime_now = vtime_max(vtime_now, tctx->account.vtime);
}

void SC_OP(latency_stopping, struct task_struct *p, bool runnable)
{
	struct task_ctx *tctx = task_ctx(p);
	struct running *on = running_on(scx_bpf_task_cpu(p));

	if (!tctx || !on)
		return;
	charge(p, tctx, runnable && p->scx.slice);
	tctx->account.wait_since = tctx->account.run_at;
	if (!runnable)
		tctx->burst_ns = average(tctx->burst_ns, tctx->awake_ns);
	running_clear(on);
}

s32 SC_OP_SLEEPABLE(latency_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *tctx = task_ctx_new(p);

	if (!tctx)
		return -ENOMEM;
	account_init(&tctx->account, args, vtime_now);
	tctx->burst_ns = slice_ns();
	return 0;
}

SC_ACCOUNT_EXIT_TASK(latency);
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
	.runnable = (void *)latency_runnable,
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
