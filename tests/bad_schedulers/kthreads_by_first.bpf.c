/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel threads wait until CPU 0 serves them, wherever they belong.
 *
 * class: 15, per-CPU kernel thread starved
 * caught-by: behaviour
 * reason: behaviour.kthread-starved or behaviour.starved or behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

#define KTHREADS 1

void OPS(kthreads_by_first_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, p->mm ? QUEUE : KTHREADS, SCX_SLICE_DFL, enq_flags);
}

void OPS(kthreads_by_first_dispatch, s32 cpu, struct task_struct *prev)
{
	if (cpu == 0 && scx_bpf_dsq_move_to_local(KTHREADS))
		return;
	scx_bpf_dsq_move_to_local(QUEUE);
}

s32 OPS_SLEEPABLE(kthreads_by_first_init)
{
	s32 err = scx_bpf_create_dsq(QUEUE, -1);

	return err ? err : scx_bpf_create_dsq(KTHREADS, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops kthreads_by_first_ops = {
	.enqueue = (void *)kthreads_by_first_enqueue,
	.dispatch = (void *)kthreads_by_first_dispatch,
	.init = (void *)kthreads_by_first_init,
	.name = "kthreads_by_first",
};
