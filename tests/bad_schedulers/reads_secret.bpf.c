/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads a file of the machine that compiles it.
 *
 * class: beyond the table, path outside
 * caught-by: source
 * reason: source.include
 */
#include "corpus.h"

LICENCE("GPL");

static const char secret[] =
#include "/etc/shadow"
	;

void OPS(reads_secret_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops reads_secret_ops = {
	.enqueue = (void *)reads_secret_enqueue,
	.name = "reads_secret",
};
