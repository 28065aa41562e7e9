/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Wakes CPU 3, which not every machine has.
 *
 * class: 12, CPU number not checked
 * caught-by: source
 * reason: source.cpu-unchecked
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(kicks_cpu_three_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
	scx_bpf_kick_cpu(3, SCX_KICK_IDLE);
}

SEC(".struct_ops.link")
struct sched_ext_ops kicks_cpu_three_ops = {
	.enqueue = (void *)kicks_cpu_three_enqueue,
	.name = "kicks_cpu_three",
};
