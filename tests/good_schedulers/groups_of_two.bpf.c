/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A queue for each pair of CPUs, as for those that share a cache; pairs help each other.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

#define MAX_GROUPS 512

s32 nr_groups;

void OPS(groups_of_two_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu;

	scx_bpf_dsq_insert(p, scx_bpf_task_cpu(p) >> 1, SCX_SLICE_DFL, enq_flags);
	cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
}

void OPS(groups_of_two_dispatch, s32 cpu, struct task_struct *prev)
{
	s32 group = cpu >> 1, i;

	if (scx_bpf_dsq_move_to_local(group))
		return;
	bpf_for(i, 0, nr_groups)
		if (i != group && scx_bpf_dsq_move_to_local(i))
			return;
}

s32 OPS_SLEEPABLE(groups_of_two_init)
{
	s32 i, err;

	nr_groups = (scx_bpf_nr_cpu_ids() + 1) >> 1;
	if (nr_groups > MAX_GROUPS)
		return -22;
	bpf_for(i, 0, nr_groups) {
		err = scx_bpf_create_dsq(i, -1);
		if (err)
			return err;
	}
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops groups_of_two_ops = {
	.enqueue = (void *)groups_of_two_enqueue,
	.dispatch = (void *)groups_of_two_dispatch,
	.init = (void *)groups_of_two_init,
	.name = "groups_of_two",
};
