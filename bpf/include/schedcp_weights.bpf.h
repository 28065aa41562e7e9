/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cpu.weight: which share of the machine a task is due, through every level of the hierarchy.
 *
 * A group divides its share among its runnable tasks and its active children by weight, as
 * Documentation/admin-guide/cgroup-v2.rst says; 100 is the default of both. A group is active
 * while a task in it or below it is runnable. Groups are those with the cpu controller. One with
 * cpu.idle counts with the least weight there is.
 */
#ifndef SCHEDCP_WEIGHTS_BPF_H
#define SCHEDCP_WEIGHTS_BPF_H

#include "schedcp_compat.bpf.h"
#include "schedcp_vtime.bpf.h"

#define WEIGHTS_MAX_GROUPS 16384 /* cgroups with the cpu controller; further ones weigh nothing */
#define WEIGHTS_MAX_DEPTH  24
#define WEIGHTS_LEAST	   1

/* Groups have slots, since a task asks for its group at every wake-up. Slot 0 is nobody's. */
struct weights_group {
	struct bpf_spin_lock lock; /* children_*, and the active_* of every child */
	u32 weight;		   /* cpu.weight */
	bool idle;		   /* cpu.idle */
	u32 parent;		   /* slot, 0 for the root */
	u32 nr_children;	   /* active children */
	u32 active_weight;	   /* what the parent counts for us, 0: not active */
	u64 tasks_weight;	   /* runnable tasks right here; changed atomically */
	u64 nr_tasks;		   /* their number; changed atomically */
	u64 children_weight;	   /* of the active children */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIGHTS_MAX_GROUPS);
	__type(key, u32);
	__type(value, struct weights_group);
} weights SEC(".maps");

/* A cgroup's id to its slot. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEIGHTS_MAX_GROUPS);
	__type(key, u64);
	__type(value, u32);
} weights_slots SEC(".maps");

/* Slots that were used and are free again. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, WEIGHTS_MAX_GROUPS);
	__type(value, u32);
} weights_free SEC(".maps");

static u32 weights_used; /* slots that were ever used */

/* The group in a slot, NULL for slot 0. */
static inline struct weights_group *weights_group(u32 slot)
{
	return slot ? bpf_map_lookup_elem(&weights, &slot) : NULL;
}

/* The slot of a cgroup, 0: it has none. */
static inline u32 weights_slot(struct cgroup *cgrp)
{
	u64 id = sc_cgroup_id(cgrp);
	u32 *slot = bpf_map_lookup_elem(&weights_slots, &id);

	return slot ? *slot : 0;
}

/* Tells the ancestors whether the group in `slot` is active, and with which weight. Safe to repeat. */
static __noinline int weights_settle(u32 slot)
{
	u32 i;

	bpf_for(i, 0, WEIGHTS_MAX_DEPTH) {
		struct weights_group *group = weights_group(slot), *parent;
		u32 want, was;

		parent = group ? weights_group(group->parent) : NULL;
		if (!parent)
			break;
		bpf_spin_lock(&parent->lock);
		want = group->idle ? WEIGHTS_LEAST : group->weight;
		want = group->nr_tasks || group->nr_children ? want : 0;
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
		slot = group->parent;
	}
	return 0;
}

/* From ops.cgroup_init(). 0, or -errno. */
static inline s32 weights_add(struct cgroup *cgrp, u32 weight)
{
	u64 id = sc_cgroup_id(cgrp), above;
	u32 level = BPF_CORE_READ(cgrp, level), slot = 0, *parent;
	struct weights_group *group;

	if (bpf_map_pop_elem(&weights_free, &slot))
		slot = __sync_add_and_fetch(&weights_used, 1);
	group = slot < WEIGHTS_MAX_GROUPS ? weights_group(slot) : NULL;
	if (!group)
		return 0; /* its tasks compete by their own weight */
	above = level ? sc_ancestor_id(cgrp, level - 1) : 0;
	parent = bpf_map_lookup_elem(&weights_slots, &above);
	group->weight = weight;
	group->idle = false;
	group->parent = parent ? *parent : 0;
	group->tasks_weight = group->nr_tasks = group->children_weight = 0;
	group->nr_children = group->active_weight = 0;
	return bpf_map_update_elem(&weights_slots, &id, &slot, BPF_ANY);
}

/* From ops.cgroup_exit(): no task is left in it. */
static inline void weights_remove(struct cgroup *cgrp)
{
	u64 id = sc_cgroup_id(cgrp);
	u32 slot = weights_slot(cgrp);

	if (!slot)
		return;
	weights_settle(slot);
	bpf_map_delete_elem(&weights_slots, &id);
	bpf_map_push_elem(&weights_free, &slot, 0);
}

/* From ops.cgroup_set_weight(). */
static inline void weights_set(struct cgroup *cgrp, u32 weight)
{
	u32 slot = weights_slot(cgrp);
	struct weights_group *group = weights_group(slot);

	if (!group)
		return;
	group->weight = weight;
	weights_settle(slot);
}

/* From ops.cgroup_set_idle(). */
static inline void weights_set_idle(struct cgroup *cgrp, bool idle)
{
	u32 slot = weights_slot(cgrp);
	struct weights_group *group = weights_group(slot);

	if (!group)
		return;
	group->idle = idle;
	weights_settle(slot);
}

/* A task of the group counts `after` from now on, it counted `before`; 0 is not runnable. */
static inline void weights_count(u32 slot, u32 before, u32 after)
{
	struct weights_group *group = weights_group(slot);

	if (!group || before == after)
		return;
	__sync_fetch_and_add(&group->tasks_weight, (u64)after - before);
	if (!before) {
		if (!__sync_fetch_and_add(&group->nr_tasks, 1) && group->parent)
			weights_settle(slot);
	} else if (!after) {
		if (__sync_fetch_and_add(&group->nr_tasks, -1) == 1 && group->parent)
			weights_settle(slot);
	}
}

/* The share of the machine that a runnable task of weight `weight` in the group is due now. */
static __noinline u64 weights_share(u32 slot, u64 weight)
{
	struct weights_group *group = weights_group(slot);
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
		u64 mine = group->active_weight;

		group = weights_group(group->parent);
		if (!group)
			break;
		sum = group->tasks_weight + group->children_weight;
		if (mine && sum > mine)
			share = share * mine / sum;
	}
	return share < SHARE_MIN ? SHARE_MIN : share;
}

#endif
