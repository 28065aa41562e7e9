/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Empties the global queue, which the kernel does by itself.
 *
 * class: 9, queue that is not one of its own
 * caught-by: source
 * reason: source.queue-builtin-emptied
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(builtin_emptied_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void OPS(builtin_emptied_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(SCX_DSQ_GLOBAL);
}

SEC(".struct_ops.link")
struct sched_ext_ops builtin_emptied_ops = {
	.enqueue = (void *)builtin_emptied_enqueue,
	.dispatch = (void *)builtin_emptied_dispatch,
	.name = "builtin_emptied",
};
