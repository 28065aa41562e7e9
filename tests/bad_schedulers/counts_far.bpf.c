/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counts to ten million for each task.
 *
 * class: 2, huge counted loop
 * caught-by: load
 * reason: load.rejected or load.too-slow
 */
#include "corpus.h"

LICENCE("GPL");

volatile u64 sum;

void OPS(counts_far_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 i;

	for (i = 0; i < 10000000; i++)
		sum += i;
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops counts_far_ops = {
	.enqueue = (void *)counts_far_enqueue,
	.name = "counts_far",
};
