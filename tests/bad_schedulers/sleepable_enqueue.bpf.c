/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Says that its enqueue may sleep.
 *
 * class: 4, sleepable program for an atomic op
 * caught-by: source
 * reason: source.sleepable-op
 * as-object: load
 * as-object-reason: load.rejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS_SLEEPABLE(sleepable_enqueue_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops sleepable_enqueue_ops = {
	.enqueue = (void *)sleepable_enqueue_enqueue,
	.name = "sleepable_enqueue",
};
