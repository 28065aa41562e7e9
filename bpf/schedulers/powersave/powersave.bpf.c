/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * powersave: few CPUs work, the others sleep.
 *
 * The first `active` CPUs, filled cache by cache, take all the work there is. Every `window_ms` the
 * time that they were busy is looked at: above `spread_pct` there will be one more, below
 * `pack_pct` of what one fewer could do there will be one fewer. A task that has waited for
 * `spread_wait_us` wakes one more at once, so a burst spreads within a few ticks. Among tasks,
 * weighted virtual time decides. With every CPU active it is a plain fair scheduler.
 *
 * Suits: batteries, machines that are lightly loaded most of the time.
 * Bad at: latency and throughput while it packs; it knows neither SMT siblings nor which CPUs are the
 * small ones.
 */
#include "schedcp_compat.bpf.h"

#include "schedcp_account.bpf.h"
#include "schedcp_idle.bpf.h"
#include "schedcp_queues.bpf.h"

char _license[] SEC("license") = "GPL";

/* How long a task may run while another one waits. Microseconds. */
SC_LIVE u32 slice_us = 8000;

/* How often the number of working CPUs is thought over. Milliseconds. */
SC_LIVE u32 window_ms = 50;

/* Busier than that in a window: one more works. Percent of what the working CPUs can do. */
SC_LIVE u32 spread_pct = 80;

/* One fewer works if it would be less busy than that. Percent of what those left can do. */
SC_LIVE u32 pack_pct = 60;

/* A task that waited longer has one more CPU work at once. Microseconds. */
SC_LIVE u32 spread_wait_us = 4000;

/* At least as many work. */
SC_LIVE u32 least_cpus = 1;

/* Virtual time that a task may save up by sleeping. Microseconds. */
SC_LIVE u32 sleep_credit_us = 10000;

/* What the loader asks of the kernel, where the kernel has it. */
const volatile u32 wanted_flags =
	WANT_ENQ_MIGRATION_DISABLED | WANT_HAS_CGROUP_WEIGHT | WANT_ALLOW_QUEUED_WAKEUP;

enum { QUEUE, NR_QUEUES, MAX_CPUS = TOPOLOGY_MAX_CPUS };

struct task_ctx {
	struct account account;
	u64 run_at;
};

SC_TASK_STORAGE();

struct vtime_line line; /* not static, or the compiler splits it and its BTF does not fit */
static u32 active = 1;	/* CPUs that work */
static u32 nr_ordered;
static u64 window_at, busy_ns; /* the window's start, and what was run in it */
static u32 turn_of[MAX_CPUS];  /* the CPU's place in the order in which they are taken */
static u32 cpu_at[MAX_CPUS];   /* the other way round */
static bool asked[MAX_CPUS];   /* a task that may run nowhere else waits */

static u64 slice_ns(void)
{
	return slice_us * 1000ULL;
}

static bool is_active(s32 cpu)
{
	return turn_of[SC_INDEX(cpu, MAX_CPUS)] < active;
}

static void set_active(u32 wanted)
{
	u32 least = least_cpus < nr_cpus ? least_cpus : nr_cpus;

	wanted = wanted < nr_cpus ? wanted : nr_cpus;
	active = wanted > least ? wanted : least;
}

/* One more CPU works from now on, and it is woken. */
static void spread(void)
{
	u32 before = active;

	if (before >= nr_cpus)
		return;
	set_active(before + 1);
	scx_bpf_kick_cpu(cpu_at[SC_INDEX(before, MAX_CPUS)], SC_KICK_IDLE);
}

/* At the end of a window one CPU thinks over how many should work. */
static void think_over(u64 now)
{
	u64 began = window_at, length = now - began, busy, many = active;

	if (length < window_ms * 1000000ULL || !vtime_before(began, now))
		return;
	if (!__sync_bool_compare_and_swap(&window_at, began, now))
		return;
	busy = busy_ns * 100;
	busy_ns = 0;
	if (busy > length * many * spread_pct)
		spread();
	else if (many > 1 && busy < length * (many - 1) * pack_pct)
		set_active(many - 1);
}

/* An idle one among the working CPUs, its last one first. */
static s32 idle_active(struct task_struct *p, s32 prev)
{
	u32 i;

	if (is_active(prev) && bpf_cpumask_test_cpu(prev, p->cpus_ptr) &&
	    scx_bpf_test_and_clear_cpu_idle(prev))
		return prev;
	bpf_for(i, 0, active) {
		s32 cpu = cpu_at[SC_INDEX(i, MAX_CPUS)];

		if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr) && scx_bpf_test_and_clear_cpu_idle(cpu))
			return cpu;
	}
	return -1;
}

static bool may_run_on_active(struct task_struct *p)
{
	u32 i;

	bpf_for(i, 0, active) {
		if (bpf_cpumask_test_cpu(cpu_at[SC_INDEX(i, MAX_CPUS)], p->cpus_ptr))
			return true;
	}
	return false;
}

/* A task wants a CPU: it is counted, and what it saved by sleeping is bounded. */
static void wake(struct task_struct *p, struct account *account)
{
	bool woke = account_wake(p, account, INTENT_NORMAL);

	account_bound(account, line.now, woke, sleep_credit_us * 1000ULL, slice_ns());
}

/* ------------------------------------------------------------------ ops */

s32 SC_OP(powersave_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	s32 cpu = idle_active(p, prev_cpu);

	if (cpu < 0 || !tctx)
		return prev_cpu;
	wake(p, &tctx->account);
	tctx->account.vtime = vtime_min(tctx->account.vtime, line.now);
	sc_insert(p, SC_DSQ_LOCAL, slice_ns(), 0);
	return cpu;
}

void SC_OP(powersave_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	s32 cpu;

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
	cpu = idle_active(p, scx_bpf_task_cpu(p));
	if (cpu < 0 && !may_run_on_active(p)) {
		cpu = bpf_cpumask_first(p->cpus_ptr);
		asked[SC_INDEX(cpu, MAX_CPUS)] = true;
	}
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SC_KICK_IDLE);
}

/* A CPU that should sleep serves only who may run nowhere else. */
void SC_OP(powersave_dispatch, s32 cpu, struct task_struct *prev)
{
	bool *ask = &asked[SC_INDEX(cpu, MAX_CPUS)];

	think_over(sc_now());
	if (!is_active(cpu)) {
		if (!*ask)
			return;
		if (scx_bpf_dsq_nr_queued(queue_at(QUEUE, cpu)) <= 1)
			*ask = false;
	}
	queues_take(QUEUE, cpu, queues_lag(slice_us));
}

void SC_OP(powersave_running, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx(p);
	u64 now = sc_now();

	if (!tctx)
		return;
	if (now - tctx->account.wait_since > spread_wait_us * 1000ULL &&
	    vtime_before(tctx->account.wait_since, now) && queues_waiting(QUEUE))
		spread();
	tctx->run_at = now;
	vtime_move(&line, tctx->account.vtime, sc_now(), nr_cpus);
}

/* A long wait shows here too when nobody sleeps. */
void SC_OP(powersave_tick, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx)
		return;
	think_over(sc_now());
	if (sc_now() - tctx->run_at > spread_wait_us * 1000ULL && queues_waiting(QUEUE))
		spread();
}

void SC_OP(powersave_stopping, struct task_struct *p, bool runnable)
{
	struct task_ctx *tctx = task_ctx(p);

	u64 ran;

	if (!tctx)
		return;
	ran = account_stop(p, &tctx->account, sc_now(), 1, runnable, false);
	__sync_fetch_and_add(&busy_ns, ran);
}

s32 SC_OP_SLEEPABLE(powersave_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *tctx = task_ctx_new(p);

	if (!tctx)
		return -ENOMEM;
	account_init(&tctx->account, args, line.now);
	return 0;
}

SC_ACCOUNT_OPS(powersave);

/* The order: CPUs of one cache after the other. */
static __noinline int order_cpus(u32 llc)
{
	u32 cpu;

	bpf_for(cpu, 0, nr_cpus) {
		if (cpu_llc(cpu) != llc)
			continue;
		turn_of[SC_INDEX(cpu, MAX_CPUS)] = nr_ordered;
		cpu_at[SC_INDEX(nr_ordered, MAX_CPUS)] = cpu;
		nr_ordered++;
	}
	return 0;
}

s32 SC_OP_SLEEPABLE(powersave_init)
{
	s32 err = topology_init() ?: queues_init(NR_QUEUES);
	u32 llc;

	bpf_for(llc, 0, nr_llcs)
		order_cpus(llc);
	set_active(nr_cpus); /* until the load is known */
	window_at = sc_now();
	return err;
}

SEC(".struct_ops.link")
struct sched_ext_ops powersave_ops = {
	.select_cpu = (void *)powersave_select_cpu,
	.enqueue = (void *)powersave_enqueue,
	.dispatch = (void *)powersave_dispatch,
	.running = (void *)powersave_running,
	.tick = (void *)powersave_tick,
	.stopping = (void *)powersave_stopping,
	.init_task = (void *)powersave_init_task,
	.init = (void *)powersave_init,
	SC_ACCOUNT_OPS_FIELDS(powersave),
	.timeout_ms = 20000,
	.name = "schedcp_powersave",
};
