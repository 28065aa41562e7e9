/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A queue for each CPU; who has nothing takes from the others.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

#define MAX_CPUS 1024

u32 nr_cpus;

void OPS(queue_each_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu = scx_bpf_task_cpu(p);

	scx_bpf_dsq_insert(p, cpu, SCX_SLICE_DFL, enq_flags);
	scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
}

void OPS(queue_each_dispatch, s32 cpu, struct task_struct *prev)
{
	u32 i;

	if (scx_bpf_dsq_move_to_local(cpu))
		return;
	bpf_for(i, 0, nr_cpus)
		if (scx_bpf_dsq_move_to_local(((u32)cpu + i) % nr_cpus))
			return;
}

s32 OPS_SLEEPABLE(queue_each_init)
{
	u32 i;
	s32 err;

	nr_cpus = scx_bpf_nr_cpu_ids();
	if (!nr_cpus || nr_cpus > MAX_CPUS)
		return -22;
	bpf_for(i, 0, nr_cpus) {
		err = scx_bpf_create_dsq(i, -1);
		if (err)
			return err;
	}
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops queue_each_ops = {
	.enqueue = (void *)queue_each_enqueue,
	.dispatch = (void *)queue_each_dispatch,
	.init = (void *)queue_each_init,
	.name = "queue_each",
};
