/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What may run anywhere runs on CPU 0; everybody is served, and the others stay idle.
 *
 * class: 18, idle CPU with queued work
 * caught-by: behaviour
 * reason: behaviour.idle-cpu
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(free_on_first_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->nr_cpus_allowed > 1 && bpf_cpumask_test_cpu(0, p->cpus_ptr))
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | 0, SCX_SLICE_DFL, enq_flags);
	else
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SCX_SLICE_DFL, enq_flags);
}

s32 OPS(free_on_first_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return p->nr_cpus_allowed > 1 && bpf_cpumask_test_cpu(0, p->cpus_ptr) ? 0 : prev_cpu;
}

SEC(".struct_ops.link")
struct sched_ext_ops free_on_first_ops = {
	.select_cpu = (void *)free_on_first_select_cpu,
	.enqueue = (void *)free_on_first_enqueue,
	.name = "free_on_first",
};
