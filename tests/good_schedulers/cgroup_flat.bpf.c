/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Virtual time by the product of a task's weight and its cgroup's, on one queue: the
 * hierarchy flattened into one level.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

struct group {
	u32 weight;
};

struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct group);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct group);
} tasks SEC(".maps");

static u64 vtime_now;

static void remember(struct task_struct *p, struct cgroup *cgrp)
{
	struct group *group = bpf_cgrp_storage_get(&groups, cgrp, NULL, 0);
	struct group *mine = bpf_task_storage_get(&tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (mine)
		mine->weight = group && group->weight ? group->weight : 100;
}

void OPS(cgroup_flat_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 vtime = p->scx.dsq_vtime;

	if ((s64)(vtime - (vtime_now - SCX_SLICE_DFL)) < 0)
		vtime = vtime_now - SCX_SLICE_DFL;
	scx_bpf_dsq_insert_vtime(p, QUEUE, SCX_SLICE_DFL, vtime, enq_flags);
}

void OPS(cgroup_flat_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

void OPS(cgroup_flat_running, struct task_struct *p)
{
	if ((s64)(vtime_now - p->scx.dsq_vtime) < 0)
		vtime_now = p->scx.dsq_vtime;
}

void OPS(cgroup_flat_stopping, struct task_struct *p, bool runnable)
{
	struct group *group = bpf_task_storage_get(&tasks, p, NULL, 0);
	u64 used = SCX_SLICE_DFL - p->scx.slice;
	u64 weight = p->scx.weight ? p->scx.weight : 1;

	weight = weight * (group && group->weight ? group->weight : 100) / 100;
	scx_bpf_task_set_dsq_vtime(p, p->scx.dsq_vtime + used * 100 / (weight ? weight : 1));
}

void OPS(cgroup_flat_enable, struct task_struct *p)
{
	scx_bpf_task_set_dsq_vtime(p, vtime_now);
}

s32 OPS_SLEEPABLE(cgroup_flat_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct group *mine = bpf_task_storage_get(&tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!mine)
		return -12;
	mine->weight = 100;
	return 0;
}

s32 OPS_SLEEPABLE(cgroup_flat_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	struct group *group =
		bpf_cgrp_storage_get(&groups, cgrp, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!group)
		return -12;
	group->weight = args->weight;
	return 0;
}

void OPS(cgroup_flat_cgroup_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	remember(p, to);
}

void OPS(cgroup_flat_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	struct group *group = bpf_cgrp_storage_get(&groups, cgrp, NULL, 0);

	if (group)
		group->weight = weight;
}

s32 OPS_SLEEPABLE(cgroup_flat_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops cgroup_flat_ops = {
	.enqueue = (void *)cgroup_flat_enqueue,
	.dispatch = (void *)cgroup_flat_dispatch,
	.running = (void *)cgroup_flat_running,
	.stopping = (void *)cgroup_flat_stopping,
	.enable = (void *)cgroup_flat_enable,
	.init_task = (void *)cgroup_flat_init_task,
	.cgroup_init = (void *)cgroup_flat_cgroup_init,
	.cgroup_move = (void *)cgroup_flat_cgroup_move,
	.cgroup_set_weight = (void *)cgroup_flat_cgroup_set_weight,
	.init = (void *)cgroup_flat_init,
	.name = "cgroup_flat",
};
