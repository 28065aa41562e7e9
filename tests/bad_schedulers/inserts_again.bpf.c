/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inserts heavy tasks first, then all.
 *
 * class: 10, double insertion on some paths
 * caught-by: behaviour
 * reason: behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(inserts_again_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->scx.weight >= 100)
		scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops inserts_again_ops = {
	.enqueue = (void *)inserts_again_enqueue,
	.name = "inserts_again",
};
