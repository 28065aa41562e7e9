/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps the last task of a CPU running by ENQ_LAST and an enqueue that says so.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(last_kept_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (enq_flags & SCX_ENQ_LAST) {
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SCX_SLICE_DFL, enq_flags);
		return;
	}
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops last_kept_ops = {
	.enqueue = (void *)last_kept_enqueue,
	.flags = SCX_OPS_ENQ_LAST,
	.name = "last_kept",
};
