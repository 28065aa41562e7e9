/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Process ids in a BPF queue; who finds no place in it goes to the global queue.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

#define PLACES 4096

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, PLACES);
	__type(value, u32);
} waiting SEC(".maps");

void OPS(numbers_in_queue_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 pid = p->pid;

	if (!p->mm || bpf_map_push_elem(&waiting, &pid, 0))
		scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void OPS(numbers_in_queue_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_struct *p;
	u32 pid, i;

	bpf_for(i, 0, 8) {
		if (bpf_map_pop_elem(&waiting, &pid))
			return;
		p = bpf_task_from_pid(pid);
		if (!p)
			continue;
		scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, 0);
		bpf_task_release(p);
		return;
	}
}

SEC(".struct_ops.link")
struct sched_ext_ops numbers_in_queue_ops = {
	.enqueue = (void *)numbers_in_queue_enqueue,
	.dispatch = (void *)numbers_in_queue_dispatch,
	.name = "numbers_in_queue",
};
