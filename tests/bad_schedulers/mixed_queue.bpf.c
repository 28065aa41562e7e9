/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fills one queue by arrival and by virtual time.
 *
 * class: 11, queue of two orders
 * caught-by: source
 * reason: source.queue-mixed
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(mixed_queue_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->scx.weight > 100)
		scx_bpf_dsq_insert(p, QUEUE, SCX_SLICE_DFL, enq_flags);
	else
		scx_bpf_dsq_insert_vtime(p, QUEUE, SCX_SLICE_DFL, p->scx.dsq_vtime, enq_flags);
}

void OPS(mixed_queue_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

s32 OPS_SLEEPABLE(mixed_queue_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops mixed_queue_ops = {
	.enqueue = (void *)mixed_queue_enqueue,
	.dispatch = (void *)mixed_queue_dispatch,
	.init = (void *)mixed_queue_init,
	.name = "mixed_queue",
};
