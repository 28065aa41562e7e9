/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * First in, first out, with statistics in maps and an exit that is told by ring buffer.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} ended SEC(".maps");

static void count(u32 what)
{
	u64 *value = bpf_map_lookup_elem(&counts, &what);

	if (value)
		(*value)++;
}

void OPS(counts_itself_enqueue, struct task_struct *p, u64 enq_flags)
{
	count(enq_flags & SCX_ENQ_WAKEUP ? 1 : 0);
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void OPS_SLEEPABLE(counts_itself_exit, struct scx_exit_info *ei)
{
	u64 kind = ei->kind;

	bpf_ringbuf_output(&ended, &kind, sizeof(kind), 0);
}

SEC(".struct_ops.link")
struct sched_ext_ops counts_itself_ops = {
	.enqueue = (void *)counts_itself_enqueue,
	.exit = (void *)counts_itself_exit,
	.name = "counts_itself",
};
