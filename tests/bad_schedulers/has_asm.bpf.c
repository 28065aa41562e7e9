/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls a helper from assembly, where no list of names sees it.
 *
 * class: beyond the table, hidden call
 * caught-by: source
 * reason: source.asm
 * as-object: object
 * as-object-reason: object.helper-not-allowed
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(has_asm_enqueue, struct task_struct *p, u64 enq_flags)
{
	asm volatile("r1 = 0; r2 = 0; r3 = 0; call 36" ::: "r0", "r1", "r2", "r3", "r4", "r5");
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops has_asm_ops = {
	.enqueue = (void *)has_asm_enqueue,
	.name = "has_asm",
};
