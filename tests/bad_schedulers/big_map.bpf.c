/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A map of a gigabyte.
 *
 * class: 20, memory
 * caught-by: object
 * reason: object.map-size
 * as-object: object
 * as-object-reason: object.map-size
 */
#include "corpus.h"

LICENCE("GPL");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, u64);
	__type(value, u64[128]);
} large SEC(".maps");

void OPS(big_map_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops big_map_ops = {
	.enqueue = (void *)big_map_enqueue,
	.name = "big_map",
};
