/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two open-coded iterators, one inside the other behind a call.
 *
 * class: 3, nested bpf_for
 * caught-by: source
 * reason: source.loop-nested
 */
#include "corpus.h"

LICENCE("GPL");

volatile u64 rounds;

static __noinline int inner(void)
{
	u32 i;

	bpf_for(i, 0, 1 << 20)
		rounds++;
	return 0;
}

void OPS(nested_for_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 i;

	bpf_for(i, 0, 1 << 16)
		inner();
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops nested_for_ops = {
	.enqueue = (void *)nested_for_enqueue,
	.name = "nested_for",
};
