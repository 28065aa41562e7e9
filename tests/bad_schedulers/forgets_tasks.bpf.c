/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looks at tasks and puts some nowhere.
 *
 * class: 14, lost task
 * caught-by: behaviour
 * reason: behaviour.starved or behaviour.kthread-starved or behaviour.not-enabled or behaviour.ejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(forgets_tasks_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->mm && p->pid % 4 == 1)
		return;
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops forgets_tasks_ops = {
	.enqueue = (void *)forgets_tasks_enqueue,
	.name = "forgets_tasks",
};
