/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who came last is served first.
 *
 * class: 17, starvation under load
 * caught-by: behaviour
 * reason: behaviour.starved or behaviour.kthread-starved or behaviour.ejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(newest_first_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert_vtime(p, QUEUE, SCX_SLICE_DFL, ~bpf_ktime_get_ns() >> 1, enq_flags);
}

void OPS(newest_first_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

s32 OPS_SLEEPABLE(newest_first_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops newest_first_ops = {
	.enqueue = (void *)newest_first_enqueue,
	.dispatch = (void *)newest_first_dispatch,
	.init = (void *)newest_first_init,
	.name = "newest_first",
};
