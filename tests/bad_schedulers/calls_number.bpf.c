/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls a helper by its number.
 *
 * class: beyond the table, hidden call
 * caught-by: source
 * reason: source.indirect-call
 * as-object: object
 * as-object-reason: object.helper-not-allowed
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(calls_number_enqueue, struct task_struct *p, u64 enq_flags)
{
	((long (*)(u32))109)(9);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops calls_number_ops = {
	.enqueue = (void *)calls_number_enqueue,
	.name = "calls_number",
};
