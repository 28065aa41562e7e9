/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A map pinned by name outlives the scheduler and is shared with whoever knows the name.
 *
 * class: 20, leak
 * caught-by: object
 * reason: object.map-field
 */
#include "corpus.h"

LICENCE("GPL");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, u32);
	__type(value, u64);
} keeps SEC(".maps");

void OPS(pins_map_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops pins_map_ops = {
	.enqueue = (void *)pins_map_enqueue,
	.name = "pins_map",
};
