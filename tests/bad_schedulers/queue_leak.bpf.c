/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes a queue for each task and destroys none.
 *
 * class: 20, leak
 * caught-by: source
 * reason: source.queue-leak
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(queue_leak_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

s32 OPS_SLEEPABLE(queue_leak_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	s32 err = scx_bpf_create_dsq(p->pid, -1);

	return err == -17 /* EEXIST */ ? 0 : err;
}

SEC(".struct_ops.link")
struct sched_ext_ops queue_leak_ops = {
	.enqueue = (void *)queue_leak_enqueue,
	.init_task = (void *)queue_leak_init_task,
	.name = "queue_leak",
};
