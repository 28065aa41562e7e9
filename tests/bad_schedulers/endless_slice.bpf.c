/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whoever runs, runs until it blocks.
 *
 * class: 18, infinite slice
 * caught-by: source
 * reason: source.slice-endless
 * as-object: behaviour
 * as-object-reason: behaviour.kthread-starved or behaviour.starved
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(endless_slice_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_INF, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops endless_slice_ops = {
	.enqueue = (void *)endless_slice_enqueue,
	.name = "endless_slice",
};
