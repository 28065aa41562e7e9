/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Creates a queue, which may sleep, where the run queue is locked.
 *
 * class: 4, sleepable kernel function in an atomic op
 * caught-by: source
 * reason: source.sleeps-in-atomic
 * as-object: load
 * as-object-reason: load.rejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(sleeps_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_create_dsq(p->pid, -1);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops sleeps_ops = {
	.enqueue = (void *)sleeps_enqueue,
	.name = "sleeps",
};
