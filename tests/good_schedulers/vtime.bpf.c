/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Weighted virtual time on one queue of its own, as the kernel's scx_simple does it.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

static u64 vtime_now;

void OPS(vtime_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 vtime = p->scx.dsq_vtime;

	/* An idle task may save up one slice, not more. */
	if ((s64)(vtime - (vtime_now - SCX_SLICE_DFL)) < 0)
		vtime = vtime_now - SCX_SLICE_DFL;
	scx_bpf_dsq_insert_vtime(p, QUEUE, SCX_SLICE_DFL, vtime, enq_flags);
}

void OPS(vtime_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

void OPS(vtime_running, struct task_struct *p)
{
	if ((s64)(vtime_now - p->scx.dsq_vtime) < 0)
		vtime_now = p->scx.dsq_vtime;
}

void OPS(vtime_stopping, struct task_struct *p, bool runnable)
{
	u32 weight = p->scx.weight ? p->scx.weight : 1;

	scx_bpf_task_set_dsq_vtime(p, p->scx.dsq_vtime +
					      (SCX_SLICE_DFL - p->scx.slice) * 100 / weight);
}

void OPS(vtime_enable, struct task_struct *p)
{
	scx_bpf_task_set_dsq_vtime(p, vtime_now);
}

s32 OPS_SLEEPABLE(vtime_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops vtime_ops = {
	.enqueue = (void *)vtime_enqueue,
	.dispatch = (void *)vtime_dispatch,
	.running = (void *)vtime_running,
	.stopping = (void *)vtime_stopping,
	.enable = (void *)vtime_enable,
	.init = (void *)vtime_init,
	.name = "vtime",
};
