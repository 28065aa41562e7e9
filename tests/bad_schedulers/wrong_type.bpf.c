/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hands on a number where the kernel wants a task.
 *
 * class: 1, type error
 * caught-by: load
 * reason: load.rejected
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(wrong_type_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert((struct task_struct *)bpf_ktime_get_ns(), SCX_DSQ_GLOBAL, SCX_SLICE_DFL,
			   enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops wrong_type_ops = {
	.enqueue = (void *)wrong_type_enqueue,
	.name = "wrong_type",
};
