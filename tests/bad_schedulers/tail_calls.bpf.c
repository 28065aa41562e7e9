/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Brings a table of programs to jump to.
 *
 * class: beyond the table, disallowed map
 * caught-by: object
 * reason: object.map-type
 * as-object: object
 * as-object-reason: object.map-type
 */
#include "corpus.h"

LICENCE("GPL");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u32);
} next SEC(".maps");

void OPS(tail_calls_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops tail_calls_ops = {
	.enqueue = (void *)tail_calls_enqueue,
	.name = "tail_calls",
};
