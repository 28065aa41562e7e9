/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A task that wakes up interrupts the CPU it slept on, at most once in 4 ms.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

#define MAX_CPUS 1024

u64 kicked_at[MAX_CPUS];

void OPS(preempts_on_wake_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu = scx_bpf_task_cpu(p);
	u64 now = bpf_ktime_get_ns();

	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, 4000000, enq_flags);
	if (!(enq_flags & SCX_ENQ_WAKEUP) || cpu < 0 || cpu >= MAX_CPUS)
		return;
	if (now - kicked_at[cpu] < 4000000)
		return;
	kicked_at[cpu] = now;
	scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
}

SEC(".struct_ops.link")
struct sched_ext_ops preempts_on_wake_ops = {
	.enqueue = (void *)preempts_on_wake_enqueue,
	.name = "preempts_on_wake",
};
