/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel threads run when no user task wants to.
 *
 * class: 15, per-CPU kernel thread starved
 * caught-by: behaviour
 * reason: behaviour.kthread-starved
 */
#include "corpus.h"

LICENCE("GPL");

#define KTHREADS 1

void OPS(kthread_last_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, p->mm ? QUEUE : KTHREADS, SCX_SLICE_DFL, enq_flags);
}

void OPS(kthread_last_dispatch, s32 cpu, struct task_struct *prev)
{
	if (!scx_bpf_dsq_move_to_local(QUEUE))
		scx_bpf_dsq_move_to_local(KTHREADS);
}

s32 OPS_SLEEPABLE(kthread_last_init)
{
	s32 err = scx_bpf_create_dsq(QUEUE, -1);

	return err ? err : scx_bpf_create_dsq(KTHREADS, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops kthread_last_ops = {
	.enqueue = (void *)kthread_last_enqueue,
	.dispatch = (void *)kthread_last_dispatch,
	.init = (void *)kthread_last_init,
	.name = "kthread_last",
};
