/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loops as often as a process id says.
 *
 * class: 3, unbounded bpf_loop
 * caught-by: source
 * reason: source.loop-unbounded
 */
#include "corpus.h"

LICENCE("GPL");

static int step(u32 index, void *context)
{
	*(volatile u64 *)context += index;
	return 0;
}

void OPS(loop_from_data_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 sum = 0;

	bpf_loop(p->pid * 64, step, &sum, 0);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL + (sum & 1), enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops loop_from_data_ops = {
	.enqueue = (void *)loop_from_data_enqueue,
	.name = "loop_from_data",
};
