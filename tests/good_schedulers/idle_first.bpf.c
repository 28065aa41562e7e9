/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looks for an idle CPU itself and gives the task to it at once.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

s32 OPS(idle_first_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	s32 cpu;

	if (bpf_cpumask_test_cpu(prev_cpu, p->cpus_ptr) &&
	    scx_bpf_test_and_clear_cpu_idle(prev_cpu)) {
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SCX_SLICE_DFL, 0);
		return prev_cpu;
	}
	cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu < 0)
		return prev_cpu;
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | cpu, SCX_SLICE_DFL, 0);
	return cpu;
}

void OPS(idle_first_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops idle_first_ops = {
	.select_cpu = (void *)idle_first_select_cpu,
	.enqueue = (void *)idle_first_enqueue,
	.name = "idle_first",
};
