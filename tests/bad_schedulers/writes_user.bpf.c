/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes into the memory of whoever runs.
 *
 * class: beyond the table, disallowed helper
 * caught-by: source
 * reason: source.helper-not-allowed
 * as-object: object
 * as-object-reason: object.helper-not-allowed
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(writes_user_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 zero = 0;

	bpf_probe_write_user((void *)0x400000, &zero, sizeof(zero));
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops writes_user_ops = {
	.enqueue = (void *)writes_user_enqueue,
	.name = "writes_user",
};
