/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes a queue for each CPU but one, and numbers them by CPU.
 *
 * class: 9, queue that does not exist
 * caught-by: behaviour
 * reason: behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(queue_by_number_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, scx_bpf_task_cpu(p), SCX_SLICE_DFL, enq_flags);
}

void OPS(queue_by_number_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(cpu);
}

s32 OPS_SLEEPABLE(queue_by_number_init)
{
	s32 cpu, err;

	bpf_for(cpu, 1, scx_bpf_nr_cpu_ids()) {
		err = scx_bpf_create_dsq(cpu, -1);
		if (err)
			return err;
	}
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops queue_by_number_ops = {
	.enqueue = (void *)queue_by_number_enqueue,
	.dispatch = (void *)queue_by_number_dispatch,
	.init = (void *)queue_by_number_init,
	.name = "queue_by_number",
};
