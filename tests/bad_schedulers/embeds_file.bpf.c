/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Puts a file of the machine into its object.
 *
 * class: beyond the table, path outside
 * caught-by: source
 * reason: source.directive
 */
#include "corpus.h"

LICENCE("GPL");

static const volatile unsigned char secret[] = {
#embed "/usr/bin/python3"
};

void OPS(embeds_file_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops embeds_file_ops = {
	.enqueue = (void *)embeds_file_enqueue,
	.name = "embeds_file",
};
