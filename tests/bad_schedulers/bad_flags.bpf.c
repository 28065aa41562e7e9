/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets a flag that no kernel has.
 *
 * class: 6, unknown flag
 * caught-by: source
 * reason: source.ops-flags
 * as-object: object
 * as-object-reason: object.ops-flags
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(bad_flags_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops bad_flags_ops = {
	.enqueue = (void *)bad_flags_enqueue,
	.flags = 1ULL << 40,
	.name = "bad_flags",
};
