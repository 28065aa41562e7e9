/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inserts each task into two queues.
 *
 * class: 10, double insertion
 * caught-by: source
 * reason: source.inserted-twice
 * as-object: behaviour
 * as-object-reason: behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(inserts_twice_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops inserts_twice_ops = {
	.enqueue = (void *)inserts_twice_enqueue,
	.name = "inserts_twice",
};
