/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counts tasks in a map that fills up.
 *
 * class: 16, overflow ignored
 * caught-by: source
 * reason: source.ignored-return
 */
#include "corpus.h"

LICENCE("GPL");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} seen SEC(".maps");

void OPS(full_map_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 now = bpf_ktime_get_ns();
	u32 pid = p->pid;

	(void)bpf_map_update_elem(&seen, &pid, &now, BPF_ANY);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops full_map_ops = {
	.enqueue = (void *)full_map_enqueue,
	.name = "full_map",
};
