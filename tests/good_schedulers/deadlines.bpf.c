/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The earliest deadline first; a lighter task gets a later one.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(deadlines_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 weight = p->scx.weight ? p->scx.weight : 1;
	u64 deadline = bpf_ktime_get_ns() + 10000000ULL * 100 / weight;

	scx_bpf_dsq_insert_vtime(p, QUEUE, 5000000, deadline, enq_flags);
}

void OPS(deadlines_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

s32 OPS_SLEEPABLE(deadlines_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops deadlines_ops = {
	.enqueue = (void *)deadlines_enqueue,
	.dispatch = (void *)deadlines_dispatch,
	.init = (void *)deadlines_init,
	.name = "deadlines",
};
