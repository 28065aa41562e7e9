/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lowest process id first, always.
 *
 * class: 17, strict priority
 * caught-by: behaviour
 * reason: behaviour.starved or behaviour.kthread-starved or behaviour.ejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(by_pid_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert_vtime(p, QUEUE, SCX_SLICE_DFL, p->pid, enq_flags);
}

void OPS(by_pid_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

s32 OPS_SLEEPABLE(by_pid_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops by_pid_ops = {
	.enqueue = (void *)by_pid_enqueue,
	.dispatch = (void *)by_pid_dispatch,
	.init = (void *)by_pid_init,
	.name = "by_pid",
};
