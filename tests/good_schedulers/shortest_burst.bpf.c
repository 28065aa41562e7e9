/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who usually runs shortly goes first. Waiting counts too: the order is by arrival plus the
 * usual length of a run.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

struct run {
	u64 since;
	u64 usual;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct run);
} runs SEC(".maps");

void OPS(shortest_burst_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct run *run = bpf_task_storage_get(&runs, p, NULL, 0);
	u64 order = bpf_ktime_get_ns() + (run ? run->usual : SCX_SLICE_DFL);

	scx_bpf_dsq_insert_vtime(p, QUEUE, SCX_SLICE_DFL, order, enq_flags);
}

void OPS(shortest_burst_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

void OPS(shortest_burst_running, struct task_struct *p)
{
	struct run *run = bpf_task_storage_get(&runs, p, NULL, 0);

	if (run)
		run->since = bpf_ktime_get_ns();
}

void OPS(shortest_burst_stopping, struct task_struct *p, bool runnable)
{
	struct run *run = bpf_task_storage_get(&runs, p, NULL, 0);

	if (run && run->since)
		run->usual = (run->usual * 7 + bpf_ktime_get_ns() - run->since) / 8;
}

s32 OPS_SLEEPABLE(shortest_burst_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	return bpf_task_storage_get(&runs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE) ? 0 : -12;
}

s32 OPS_SLEEPABLE(shortest_burst_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops shortest_burst_ops = {
	.enqueue = (void *)shortest_burst_enqueue,
	.dispatch = (void *)shortest_burst_dispatch,
	.running = (void *)shortest_burst_running,
	.stopping = (void *)shortest_burst_stopping,
	.init_task = (void *)shortest_burst_init_task,
	.init = (void *)shortest_burst_init,
	.name = "shortest_burst",
};
