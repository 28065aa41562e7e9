/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Has no room for one task in 16.
 *
 * class: 8, init_task fails
 * caught-by: behaviour
 * reason: behaviour.not-enabled or behaviour.ejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(init_task_fails_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

s32 OPS_SLEEPABLE(init_task_fails_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	return p->pid % 16 == 9 ? -12 : 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops init_task_fails_ops = {
	.enqueue = (void *)init_task_fails_enqueue,
	.init_task = (void *)init_task_fails_init_task,
	.name = "init_task_fails",
};
