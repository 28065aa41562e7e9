/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Puts a task back by itself when it stops.
 *
 * class: 5, kernel function in the wrong op
 * caught-by: source
 * reason: source.kfunc-context
 * as-object: load
 * as-object-reason: load.rejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(inserts_in_stopping_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void OPS(inserts_in_stopping_stopping, struct task_struct *p, bool runnable)
{
	if (runnable)
		scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, 0);
}

SEC(".struct_ops.link")
struct sched_ext_ops inserts_in_stopping_ops = {
	.enqueue = (void *)inserts_in_stopping_enqueue,
	.stopping = (void *)inserts_in_stopping_stopping,
	.name = "inserts_in_stopping",
};
