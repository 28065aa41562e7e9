/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gives a helper that is not allowed the name of one that is.
 *
 * class: beyond the table, hidden call
 * caught-by: source
 * reason: source.helper-not-allowed
 * as-object: object
 * as-object-reason: object.helper-not-allowed
 */
#include "corpus.h"

LICENCE("GPL");

static long (*const bpf_jiffies64_)(u32) = (void *)109;

void OPS(renames_helper_enqueue, struct task_struct *p, u64 enq_flags)
{
	bpf_jiffies64_(9);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops renames_helper_ops = {
	.enqueue = (void *)renames_helper_enqueue,
	.name = "renames_helper",
};
