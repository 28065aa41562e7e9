/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes a field of the task that belongs to the kernel.
 *
 * class: 1, illegal write to a task
 * caught-by: source
 * reason: source.kernel-write
 * as-object: load
 * as-object-reason: load.rejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(writes_task_enqueue, struct task_struct *p, u64 enq_flags)
{
	p->prio = 100;
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops writes_task_ops = {
	.enqueue = (void *)writes_task_enqueue,
	.name = "writes_task",
};
