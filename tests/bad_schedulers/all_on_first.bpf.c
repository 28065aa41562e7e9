/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything on CPU 0, also what is bound to another one.
 *
 * class: 13, affinity violation
 * caught-by: behaviour
 * reason: behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(all_on_first_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | 0, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops all_on_first_ops = {
	.enqueue = (void *)all_on_first_enqueue,
	.name = "all_on_first",
};
