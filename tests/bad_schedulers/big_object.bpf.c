/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A table of 64 MB in a line of source.
 *
 * class: beyond the table, compiler bomb
 * caught-by: compile
 * reason: compile.output
 */
#include "corpus.h"

LICENCE("GPL");

const volatile char table[64 << 20] = { 1 };

void OPS(big_object_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops big_object_ops = {
	.enqueue = (void *)big_object_enqueue,
	.name = "big_object",
};
