/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Slices without an end, cut by the tick as soon as somebody waits.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(tick_cuts_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, QUEUE, SCX_SLICE_INF, enq_flags);
}

void OPS(tick_cuts_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

void OPS(tick_cuts_tick, struct task_struct *p)
{
	if (scx_bpf_dsq_nr_queued(QUEUE) > 0)
		scx_bpf_task_set_slice(p, 0);
}

s32 OPS_SLEEPABLE(tick_cuts_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops tick_cuts_ops = {
	.enqueue = (void *)tick_cuts_enqueue,
	.dispatch = (void *)tick_cuts_dispatch,
	.tick = (void *)tick_cuts_tick,
	.init = (void *)tick_cuts_init,
	.name = "tick_cuts",
};
