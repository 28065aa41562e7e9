/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loops 2^46 times with the run queue locked; the kernel's verifier accepts it.
 *
 * class: 3, nested bpf_loop
 * caught-by: source
 * reason: source.loop-nested
 * as-object: behaviour
 * as-object-reason: behaviour.frozen
 */
#include "corpus.h"

LICENCE("GPL");

static int spin_inner(u32 index, void *context)
{
	*(volatile u64 *)context += index;
	return 0;
}

static int spin_outer(u32 index, void *context)
{
	bpf_loop(8 << 20, spin_inner, context, 0);
	return 0;
}

void OPS(nested_loop_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 sum = 0;

	bpf_loop(8 << 20, spin_outer, &sum, 0);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL + (sum & 1), enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops nested_loop_ops = {
	.enqueue = (void *)nested_loop_enqueue,
	.name = "nested_loop",
};
