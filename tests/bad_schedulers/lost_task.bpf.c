/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loses some tasks; with the default watchdog nothing is said for 30 s.
 *
 * class: 14, unconsumed queue
 * caught-by: source
 * reason: source.queue-not-emptied
 * as-object: behaviour
 * as-object-reason: behaviour.starved or behaviour.ejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(lost_task_enqueue, struct task_struct *p, u64 enq_flags)
{
	/* Every eighth user task goes to a queue that nobody empties. */
	if (p->mm && p->pid % 8 == 0)
		scx_bpf_dsq_insert(p, QUEUE, SCX_SLICE_DFL, enq_flags);
	else
		scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

s32 OPS_SLEEPABLE(lost_task_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops lost_task_ops = {
	.enqueue = (void *)lost_task_enqueue,
	.init = (void *)lost_task_init,
	.name = "lost_task",
};
