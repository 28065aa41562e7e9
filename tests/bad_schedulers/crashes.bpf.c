/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names a kernel function that ends the machine.
 *
 * class: beyond the table, disallowed kernel function
 * caught-by: source
 * reason: source.kfunc-not-allowed
 * as-object: object
 * as-object-reason: object.kfunc-not-allowed
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(crashes_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (bpf_ktime_get_ns() == 1)
		crash_kexec(NULL);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops crashes_ops = {
	.enqueue = (void *)crashes_enqueue,
	.name = "crashes",
};
