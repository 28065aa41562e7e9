/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sends user tasks to the next CPU, also those that may not run there.
 *
 * class: 13, affinity violation
 * caught-by: behaviour
 * reason: behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(wrong_cpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	/* Right for every task that may run anywhere. */
	s32 cpu = (bpf_get_smp_processor_id() + 1) % scx_bpf_nr_cpu_ids();

	if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr) || !(p->flags & 0x00200000 /* PF_KTHREAD */))
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | cpu, SCX_SLICE_DFL, enq_flags);
	else
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops wrong_cpu_ops = {
	.enqueue = (void *)wrong_cpu_enqueue,
	.name = "wrong_cpu",
};
