/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which class a task belongs to: the entry of its cgroup in `intents`, else of the nearest
 * ancestor that has one.
 *
 * User space writes entries, then adds one to `intents_generation`. A task's answer is cached
 * and asked for again when its cgroup or the generation changed.
 */
#ifndef SCHEDCP_INTENTS_BPF_H
#define SCHEDCP_INTENTS_BPF_H

#include "intent.h"
#include "schedcp_compat.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, INTENT_MAX_CGROUPS);
	__type(key, u64);
	__type(value, struct intent);
} intents SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} intents_generation SEC(".maps");

/* One task's cached answer. */
struct intent_cache {
	u64 cgroup;	/* where the task was when asked, 0: never asked */
	u64 owner;	/* the cgroup whose entry decided, 0: none, the default did */
	u64 generation; /* of `intents` when asked */
	u32 class;
};

static inline u64 intents_now(void)
{
	u32 zero = 0;
	u64 *generation = bpf_map_lookup_elem(&intents_generation, &zero);

	return generation ? *(volatile u64 *)generation : 0;
}

/* Nearest entry at or above `cgrp`; returns its class, or `fallback` with *owner 0. */
static __noinline u32 intents_lookup(struct cgroup *cgrp, u32 fallback, u64 *owner)
{
	s32 level;
	u32 i;

	if (!owner)
		return fallback;
	*owner = 0;
	level = BPF_CORE_READ(cgrp, level);
	bpf_for(i, 0, INTENT_MAX_DEPTH) {
		struct intent *intent;
		u64 id;

		if (level < 0)
			break;
		id = sc_ancestor_id(cgrp, level--);
		intent = bpf_map_lookup_elem(&intents, &id);
		if (intent && intent->class < INTENT_NR_CLASSES) {
			*owner = id;
			return intent->class;
		}
	}
	return fallback;
}

/* Brings the cache up to date. True: the class is another one than before. */
static inline bool intents_refresh(struct task_struct *p, struct intent_cache *cache, u32 fallback)
{
	struct cgroup *cgrp = sc_task_cgroup(p);
	u64 id = sc_cgroup_id(cgrp), generation = intents_now(), owner = 0;
	u32 class;

	if (cache->cgroup == id && cache->generation == generation)
		return false;
	class = intents_lookup(cgrp, fallback, &owner);
	cache->cgroup = id;
	cache->generation = generation;
	cache->owner = owner;
	if (class == cache->class || class >= INTENT_NR_CLASSES)
		return false;
	cache->class = class;
	return true;
}

#endif
