/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * In random order, but nobody is drawn after who came 100 ms later.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(lottery_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 luck = bpf_get_prandom_u32() % 100000000;

	scx_bpf_dsq_insert_vtime(p, QUEUE, SCX_SLICE_DFL, bpf_ktime_get_ns() + luck, enq_flags);
}

void OPS(lottery_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

s32 OPS_SLEEPABLE(lottery_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops lottery_ops = {
	.enqueue = (void *)lottery_enqueue,
	.dispatch = (void *)lottery_dispatch,
	.init = (void *)lottery_init,
	.name = "lottery",
};
