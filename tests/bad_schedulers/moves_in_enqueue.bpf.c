/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Moves tasks to a CPU where only ops.dispatch may.
 *
 * class: 5, kernel function in the wrong op
 * caught-by: source
 * reason: source.kfunc-context
 * as-object: load
 * as-object-reason: load.rejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(moves_in_enqueue_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, QUEUE, SCX_SLICE_DFL, enq_flags);
	scx_bpf_dsq_move_to_local(QUEUE);
}

void OPS(moves_in_enqueue_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

s32 OPS_SLEEPABLE(moves_in_enqueue_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops moves_in_enqueue_ops = {
	.enqueue = (void *)moves_in_enqueue_enqueue,
	.dispatch = (void *)moves_in_enqueue_dispatch,
	.init = (void *)moves_in_enqueue_init,
	.name = "moves_in_enqueue",
};
