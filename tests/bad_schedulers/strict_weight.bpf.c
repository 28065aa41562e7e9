/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Light tasks run only when no other wants to: strict priority by weight.
 *
 * class: 17, low weight starved
 * caught-by: behaviour
 * reason: behaviour.starved
 */
#include "corpus.h"

LICENCE("GPL");

#define LIGHT 1

void OPS(strict_weight_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, p->scx.weight < 100 ? LIGHT : QUEUE, SCX_SLICE_DFL, enq_flags);
}

void OPS(strict_weight_dispatch, s32 cpu, struct task_struct *prev)
{
	if (!scx_bpf_dsq_move_to_local(QUEUE))
		scx_bpf_dsq_move_to_local(LIGHT);
}

s32 OPS_SLEEPABLE(strict_weight_init)
{
	s32 err = scx_bpf_create_dsq(QUEUE, -1);

	return err ? err : scx_bpf_create_dsq(LIGHT, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops strict_weight_ops = {
	.enqueue = (void *)strict_weight_enqueue,
	.dispatch = (void *)strict_weight_dispatch,
	.init = (void *)strict_weight_init,
	.name = "strict_weight",
};
