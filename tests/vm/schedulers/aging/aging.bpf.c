/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * aging: one queue, first in first out, that gets worse with time, for the tests of the canary.
 *
 * `after_ms` after it was loaded its slices are `factor` times as long, and so is what everybody
 * waits while more tasks want to run than there are CPUs. Nothing is lost and nobody starves:
 * only measures show it. With `starve_after_ms` everybody starves instead, and the kernel's own
 * watchdog takes half a minute to see it.
 */
#include "schedcp_compat.bpf.h"

#include "intent.h"
#include "schedcp_exit.bpf.h"
#include "schedcp_intents.bpf.h"
#include "schedcp_stats.bpf.h"

char _license[] SEC("license") = "GPL";

enum { DSQ_ALL };

const volatile u32 slice_us = 8000;	/* of every task, in microseconds */
const volatile u32 after_ms = 0;	/* until slices grow, in milliseconds; 0: never */
const volatile u32 factor = 2;		/* by how much they grow */
const volatile u32 starve_after_ms = 0; /* until nobody is served but kernel threads; 0: never */

static u64 loaded_ns;

struct times {
	u64 queued_ns;
	u64 running_ns;
	u64 delay_ns; /* before this run */
	bool waited;  /* for this run, in the queue */
	struct intent_cache intent;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct times);
} times SEC(".maps");

static struct times *times_of(struct task_struct *p)
{
	return bpf_task_storage_get(&times, p, NULL, 0);
}

static u64 age_ms(void)
{
	return (bpf_ktime_get_ns() - loaded_ns) / 1000000;
}

static u64 slice_now(void)
{
	u64 slice = (u64)slice_us * 1000;

	return after_ms && age_ms() >= after_ms ? slice * factor : slice;
}

void SC_OP(aging_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct times *t = times_of(p);

	if (t)
		t->queued_ns = bpf_ktime_get_ns();
	if ((p->flags & PF_KTHREAD) && p->nr_cpus_allowed == 1)
		sc_insert(p, SC_DSQ_LOCAL, slice_now(), enq_flags);
	else
		sc_insert(p, DSQ_ALL, slice_now(), enq_flags);
}

void SC_OP(aging_dispatch, s32 cpu, struct task_struct *prev)
{
	if (!starve_after_ms || age_ms() < starve_after_ms)
		sc_move_to_local(DSQ_ALL);
}

void SC_OP(aging_running, struct task_struct *p)
{
	struct times *t = times_of(p);
	u64 now = bpf_ktime_get_ns();

	if (!t)
		return;
	t->running_ns = now;
	intents_refresh(p, &t->intent, INTENT_NORMAL);
	t->waited = t->queued_ns;
	t->delay_ns = now - t->queued_ns;
	t->queued_ns = 0;
}

void SC_OP(aging_stopping, struct task_struct *p, bool runnable)
{
	struct times *t = times_of(p);

	if (t && t->running_ns)
		stats_ran(t->intent.class, t->intent.owner, t->waited, t->delay_ns,
			  bpf_ktime_get_ns() - t->running_ns, runnable);
}

s32 SC_OP_SLEEPABLE(aging_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	return bpf_task_storage_get(&times, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE) ? 0 : -ENOMEM;
}

s32 SC_OP_SLEEPABLE(aging_init)
{
	loaded_ns = bpf_ktime_get_ns();
	return scx_bpf_create_dsq(DSQ_ALL, -1);
}

void SC_OP_SLEEPABLE(aging_exit, struct scx_exit_info *ei)
{
	exit_record_fill(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops aging_ops = {
	.enqueue = (void *)aging_enqueue,
	.dispatch = (void *)aging_dispatch,
	.running = (void *)aging_running,
	.stopping = (void *)aging_stopping,
	.init_task = (void *)aging_init_task,
	.init = (void *)aging_init,
	.exit = (void *)aging_exit,
	.timeout_ms = 30000,
	.name = "schedcp_aging",
};
