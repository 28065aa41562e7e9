/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps what the push returned and never looks at it.
 *
 * class: 16, overflow ignored
 * caught-by: source
 * reason: source.ignored-return
 */
#include "corpus.h"

LICENCE("GPL");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 8);
	__type(value, u32);
} waiting SEC(".maps");

void OPS(full_queue_unread_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 pid = p->pid;
	long err;

	err = bpf_map_push_elem(&waiting, &pid, 0);
}

void OPS(full_queue_unread_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_struct *p;
	u32 pid;

	if (bpf_map_pop_elem(&waiting, &pid))
		return;
	p = bpf_task_from_pid(pid);
	if (!p)
		return;
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, 0);
	bpf_task_release(p);
}

SEC(".struct_ops.link")
struct sched_ext_ops full_queue_unread_ops = {
	.enqueue = (void *)full_queue_unread_enqueue,
	.dispatch = (void *)full_queue_unread_dispatch,
	.name = "full_queue_unread",
};
