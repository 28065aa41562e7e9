/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupts every CPU for every task.
 *
 * class: 20, kick storm
 * caught-by: source
 * reason: source.kick-storm
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(kick_storm_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu;

	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
	bpf_for(cpu, 0, scx_bpf_nr_cpu_ids())
		scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
}

SEC(".struct_ops.link")
struct sched_ext_ops kick_storm_ops = {
	.enqueue = (void *)kick_storm_enqueue,
	.name = "kick_storm",
};
