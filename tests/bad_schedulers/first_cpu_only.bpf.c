/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Only CPU 0 takes work; the others stay idle beside it.
 *
 * class: 18, idle CPU with queued work
 * caught-by: behaviour
 * reason: behaviour.starved or behaviour.kthread-starved or behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(first_cpu_only_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, QUEUE, SCX_SLICE_DFL, enq_flags);
}

void OPS(first_cpu_only_dispatch, s32 cpu, struct task_struct *prev)
{
	if (cpu == 0)
		scx_bpf_dsq_move_to_local(QUEUE);
}

s32 OPS_SLEEPABLE(first_cpu_only_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops first_cpu_only_ops = {
	.enqueue = (void *)first_cpu_only_enqueue,
	.dispatch = (void *)first_cpu_only_dispatch,
	.init = (void *)first_cpu_only_init,
	.name = "first_cpu_only",
};
