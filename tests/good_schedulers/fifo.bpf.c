/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Global first in, first out, on the built-in global queue.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(fifo_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops fifo_ops = {
	.enqueue = (void *)fifo_enqueue,
	.name = "fifo",
};
