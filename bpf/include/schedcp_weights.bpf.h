/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cpu.weight: which share of the machine a task is due, through every level of the hierarchy.
 *
 * A group divides its share among its runnable tasks and its active children by weight, as
 * Documentation/admin-guide/cgroup-v2.rst says; 100 is the default of both. A group is active
 * while a task in it or below it is runnable. Groups are those with the cpu controller.
 */
#ifndef SCHEDCP_WEIGHTS_BPF_H
#define SCHEDCP_WEIGHTS_BPF_H

#include "schedcp_compat.bpf.h"
#include "schedcp_vtime.bpf.h"

#define WEIGHTS_MAX_GROUPS 65536
#define WEIGHTS_MAX_DEPTH  24

struct weights_group {
	struct bpf_spin_lock lock; /* children_*, and the active_* of every child */
	u32 weight;		   /* cpu.weight */
	u64 parent;		   /* id, 0 for the root */
	u64 tasks_weight;	   /* runnable tasks right here; changed atomically */
	u64 nr_tasks;		   /* their number; changed atomically */
	u64 children_weight;	   /* of the active children */
	u32 nr_children;	   /* active children */
	u32 active_weight;	   /* what the parent counts for us, 0: not active */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEIGHTS_MAX_GROUPS);
	__type(key, u64);
	__type(value, struct weights_group);
} weights SEC(".maps");

/* Tells the ancestors whether group `id` is active, and with which weight. Safe to repeat. */
static __noinline int weights_settle(u64 id)
{
	u32 i;

	bpf_for(i, 0, WEIGHTS_MAX_DEPTH) {
		struct weights_group *group = bpf_map_lookup_elem(&weights, &id);
		struct weights_group *parent;
		u64 parent_id;
		u32 want, was;

		if (!group)
			break;
		parent_id = group->parent;
		parent = bpf_map_lookup_elem(&weights, &parent_id);
		if (!parent)
			break;
		bpf_spin_lock(&parent->lock);
		want = group->nr_tasks || group->nr_children ? group->weight : 0;
		was = group->active_weight;
		group->active_weight = want;
		parent->children_weight += (u64)want - was;
		if (want && !was)
			parent->nr_children++;
		else if (!want && was)
			parent->nr_children--;
		bpf_spin_unlock(&parent->lock);
		if (!want == !was)
			break;
		id = parent_id;
	}
	return 0;
}

/* From ops.cgroup_init(). 0, or -errno when the map is full. */
static inline s32 weights_add(struct cgroup *cgrp, u32 weight)
{
	u64 id = sc_cgroup_id(cgrp);
	u32 level = BPF_CORE_READ(cgrp, level);
	struct weights_group group = {
		.weight = weight,
		.parent = level ? sc_ancestor_id(cgrp, level - 1) : 0,
	};

	return bpf_map_update_elem(&weights, &id, &group, BPF_ANY);
}

/* From ops.cgroup_exit(): no task is left in it. */
static inline void weights_remove(struct cgroup *cgrp)
{
	u64 id = sc_cgroup_id(cgrp);

	weights_settle(id);
	bpf_map_delete_elem(&weights, &id);
}

/* From ops.cgroup_set_weight(). */
static inline void weights_set(struct cgroup *cgrp, u32 weight)
{
	u64 id = sc_cgroup_id(cgrp);
	struct weights_group *group = bpf_map_lookup_elem(&weights, &id);

	if (!group)
		return;
	group->weight = weight;
	weights_settle(id);
}

/* From ops.runnable(), ops.quiescent() and ops.set_weight(): the task counts `after`, before `before`. */
static inline void weights_count(u64 id, u32 before, u32 after)
{
	struct weights_group *group = bpf_map_lookup_elem(&weights, &id);

	if (!group || before == after)
		return;
	__sync_fetch_and_add(&group->tasks_weight, (u64)after - before);
	if (!before) {
		if (!__sync_fetch_and_add(&group->nr_tasks, 1))
			weights_settle(id);
	} else if (!after) {
		if (__sync_fetch_and_add(&group->nr_tasks, -1) == 1)
			weights_settle(id);
	}
}

/* The share of the machine that a runnable task of weight `weight` in group `id` is due now. */
static __noinline u64 weights_share(u64 id, u64 weight)
{
	struct weights_group *group = bpf_map_lookup_elem(&weights, &id);
	u64 share = SHARE_ONE, sum;
	u32 i;

	if (!weight)
		weight = 1;
	if (!group) /* a kernel without the cpu controller: tasks compete by their own weight */
		return SHARE_ONE * weight / 10000;
	sum = group->tasks_weight + group->children_weight;
	if (sum > weight)
		share = share * weight / sum;
	bpf_for(i, 0, WEIGHTS_MAX_DEPTH) {
		u64 parent_id = group->parent, mine = group->active_weight;

		group = bpf_map_lookup_elem(&weights, &parent_id);
		if (!group)
			break;
		sum = group->tasks_weight + group->children_weight;
		if (mine && sum > mine)
			share = share * mine / sum;
	}
	return share < SHARE_MIN ? SHARE_MIN : share;
}

#endif
