/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Slices of an hour.
 *
 * class: 18, slice without an end
 * caught-by: source
 * reason: source.slice-endless
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(hour_slices_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, 3600ULL * 1000000000, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops hour_slices_ops = {
	.enqueue = (void *)hour_slices_enqueue,
	.name = "hour_slices",
};
