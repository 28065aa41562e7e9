/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each CPU serves what woke up on it; an idle CPU is found at wake-up.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

s32 OPS(local_only_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);

	if (idle)
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SCX_SLICE_DFL, 0);
	return cpu;
}

void OPS(local_only_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops local_only_ops = {
	.select_cpu = (void *)local_only_select_cpu,
	.enqueue = (void *)local_only_enqueue,
	.name = "local_only",
};
