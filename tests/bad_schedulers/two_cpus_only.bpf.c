/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Written for a machine of two CPUs: on a larger one, the others never take work.
 *
 * class: 18, idle CPU with queued work
 * caught-by: behaviour
 * reason: behaviour.starved or behaviour.kthread-starved or behaviour.ejected or behaviour.not-enabled or behaviour.idle-cpu
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(two_cpus_only_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, QUEUE, SCX_SLICE_DFL, enq_flags);
}

void OPS(two_cpus_only_dispatch, s32 cpu, struct task_struct *prev)
{
	if (cpu < 2)
		scx_bpf_dsq_move_to_local(QUEUE);
}

s32 OPS_SLEEPABLE(two_cpus_only_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops two_cpus_only_ops = {
	.enqueue = (void *)two_cpus_only_enqueue,
	.dispatch = (void *)two_cpus_only_dispatch,
	.init = (void *)two_cpus_only_init,
	.name = "two_cpus_only",
};
