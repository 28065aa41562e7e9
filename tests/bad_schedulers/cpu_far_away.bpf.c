/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Compares the CPU, but with the wrong end.
 *
 * class: 12, invalid CPU
 * caught-by: behaviour
 * reason: behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(cpu_far_away_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu = scx_bpf_task_cpu(p) + 4000;

	if (cpu >= 0)
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | cpu, SCX_SLICE_DFL, enq_flags);
	else
		scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops cpu_far_away_ops = {
	.enqueue = (void *)cpu_far_away_enqueue,
	.name = "cpu_far_away",
};
