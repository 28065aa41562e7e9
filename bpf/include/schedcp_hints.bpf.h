/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How much work a task is expected to be: what user space says, else what earlier tasks of the same
 * command turned out to be.
 *
 * User space writes `hints_pid`, `hints_comm` or `hints_cgroup` (asked in this order), then adds one
 * to `hints_generation`. A hint is for each task by itself: all the CPU time it will use in its life.
 */
#ifndef SCHEDCP_HINTS_BPF_H
#define SCHEDCP_HINTS_BPF_H

#include "schedcp_compat.bpf.h"
#include "schedcp_vtime.bpf.h"

#define HINTS_MAX      16384
#define HINTS_LEARNT   4096
#define HINTS_LEAST_NS 1000000 /* shorter lives teach nothing */
#define HINTS_COMM_LEN 16

struct hint {
	u64 work_us;
};

struct hint_comm {
	char comm[HINTS_COMM_LEN]; /* padded with zeroes */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, HINTS_MAX);
	__type(key, u32); /* thread id in the root PID namespace */
	__type(value, struct hint);
} hints_pid SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, HINTS_MAX);
	__type(key, struct hint_comm);
	__type(value, struct hint);
} hints_comm SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, HINTS_MAX);
	__type(key, u64); /* kernfs id of the task's own cgroup */
	__type(value, struct hint);
} hints_cgroup SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} hints_generation SEC(".maps");

/* The mean of what tasks of a command used in their lives, nanoseconds. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, HINTS_LEARNT);
	__type(key, struct hint_comm);
	__type(value, u64);
} learnt SEC(".maps");

/* One task's cached answer. */
struct hint_cache {
	struct hint_comm comm;
	u64 cgroup;
	u64 generation;
	u64 work_ns; /* 0: nobody knows */
};

static inline struct hint_comm hint_comm_of(struct task_struct *p)
{
	struct hint_comm key = {};

	bpf_probe_read_kernel_str(key.comm, sizeof(key.comm), p->comm);
	return key;
}

static __noinline u64 hints_lookup(struct hint_cache *cache, u32 pid, bool learn)
{
	struct hint *hint;
	u64 *mean;

	if (!cache)
		return 0;
	hint = bpf_map_lookup_elem(&hints_pid, &pid);
	if (!hint)
		hint = bpf_map_lookup_elem(&hints_comm, &cache->comm);
	if (!hint)
		hint = bpf_map_lookup_elem(&hints_cgroup, &cache->cgroup);
	if (hint)
		return hint->work_us * 1000;
	mean = learn ? bpf_map_lookup_elem(&learnt, &cache->comm) : NULL;
	return mean ? *mean : 0;
}

/*
 * Asks again if the task's name, its cgroup or the hints changed. True: the answer is a new one.
 * `learn`: what earlier tasks used counts too.
 */
static inline bool hints_refresh(struct task_struct *p, struct hint_cache *cache, bool learn)
{
	struct hint_comm comm = hint_comm_of(p);
	u64 cgroup = sc_cgroup_id(sc_task_cgroup(p)), before = cache->work_ns;
	u64 *generation, now;
	u32 zero = 0;

	generation = bpf_map_lookup_elem(&hints_generation, &zero);
	now = generation ? *(volatile u64 *)generation + 1 : 1; /* 0 is never asked */
	if (cache->generation == now && cache->cgroup == cgroup &&
	    !__builtin_memcmp(&cache->comm, &comm, sizeof(comm)))
		return false;
	cache->comm = comm;
	cache->cgroup = cgroup;
	cache->generation = now;
	cache->work_ns = hints_lookup(cache, p->pid, learn);
	return cache->work_ns != before;
}

/* A task ended after `used_ns` on CPUs. */
static inline void hints_learn(struct hint_cache *cache, u64 used_ns)
{
	u64 *mean;

	if (used_ns < HINTS_LEAST_NS)
		return;
	mean = bpf_map_lookup_elem(&learnt, &cache->comm);
	if (mean)
		*mean = average(*mean, used_ns);
	else
		bpf_map_update_elem(&learnt, &cache->comm, &used_ns, BPF_ANY);
}

#endif
