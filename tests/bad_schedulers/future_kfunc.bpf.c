/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls a kernel function that the target kernel does not have.
 *
 * class: beyond the table, another kernel's function
 * caught-by: source
 * reason: source.kfunc-missing
 * as-object: load
 * as-object-reason: load.rejected
 */
#include "corpus.h"

LICENCE("GPL");

void scx_bpf_insert_fairly(struct task_struct *p, u64 enq_flags) __ksym;

void OPS(future_kfunc_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_insert_fairly(p, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops future_kfunc_ops = {
	.enqueue = (void *)future_kfunc_enqueue,
	.name = "future_kfunc",
};
