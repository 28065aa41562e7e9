/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loses every task that was moved to another cgroup.
 *
 * class: 19, cgroup move
 * caught-by: behaviour
 * reason: behaviour.starved or behaviour.ejected
 */
#include "corpus.h"

LICENCE("GPL");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, bool);
} moved SEC(".maps");

void OPS(cgroup_moves_lost_enqueue, struct task_struct *p, u64 enq_flags)
{
	bool *gone = bpf_task_storage_get(&moved, p, NULL, 0);

	if (!gone || !*gone)
		scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void OPS(cgroup_moves_lost_cgroup_move, struct task_struct *p, struct cgroup *from,
	 struct cgroup *to)
{
	bool *gone = bpf_task_storage_get(&moved, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (gone)
		*gone = true;
}

SEC(".struct_ops.link")
struct sched_ext_ops cgroup_moves_lost_ops = {
	.enqueue = (void *)cgroup_moves_lost_enqueue,
	.cgroup_move = (void *)cgroup_moves_lost_cgroup_move,
	.name = "cgroup_moves_lost",
};
