/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Uses what a map lookup gave without looking whether it gave anything.
 *
 * class: 1, NULL dereference
 * caught-by: load
 * reason: load.rejected
 */
#include "corpus.h"

LICENCE("GPL");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, u64);
} runs SEC(".maps");

void OPS(null_deref_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 pid = p->pid;
	u64 *count = bpf_map_lookup_elem(&runs, &pid);

	*count += 1;
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops null_deref_ops = {
	.enqueue = (void *)null_deref_enqueue,
	.name = "null_deref",
};
