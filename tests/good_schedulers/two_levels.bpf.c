/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Heavy tasks before light ones, but after four of them a light one has its turn.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

#define LIGHT 1

volatile u32 turns;

void OPS(two_levels_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, p->scx.weight < 100 ? LIGHT : QUEUE, SCX_SLICE_DFL, enq_flags);
}

void OPS(two_levels_dispatch, s32 cpu, struct task_struct *prev)
{
	bool light = turns++ % 5 == 4;

	if (scx_bpf_dsq_move_to_local(light ? LIGHT : QUEUE))
		return;
	scx_bpf_dsq_move_to_local(light ? QUEUE : LIGHT);
}

s32 OPS_SLEEPABLE(two_levels_init)
{
	s32 err = scx_bpf_create_dsq(QUEUE, -1);

	return err ? err : scx_bpf_create_dsq(LIGHT, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops two_levels_ops = {
	.enqueue = (void *)two_levels_enqueue,
	.dispatch = (void *)two_levels_dispatch,
	.init = (void *)two_levels_init,
	.name = "two_levels",
};
