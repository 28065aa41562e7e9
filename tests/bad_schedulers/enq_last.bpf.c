/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asks to be given the last task of a CPU, and has nothing to take it with.
 *
 * class: 7, ENQ_LAST without enqueue
 * caught-by: source
 * reason: source.enq-last-without-enqueue
 * as-object: object
 * as-object-reason: object.enq-last-without-enqueue
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(enq_last_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(SCX_DSQ_GLOBAL);
}

SEC(".struct_ops.link")
struct sched_ext_ops enq_last_ops = {
	.dispatch = (void *)enq_last_dispatch,
	.flags = SCX_OPS_ENQ_LAST,
	.name = "enq_last",
};
