/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Waits for a flag that nobody sets.
 *
 * class: 2, endless loop
 * caught-by: load
 * reason: load.rejected or load.too-slow
 */
#include "corpus.h"

LICENCE("GPL");

volatile bool ready;

void OPS(spins_enqueue, struct task_struct *p, u64 enq_flags)
{
	while (!ready)
		;
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops spins_ops = {
	.enqueue = (void *)spins_enqueue,
	.name = "spins",
};
