/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What each class and each cgroup with an intent got, counted on each CPU without locks.
 *
 * User space makes the entry of a cgroup when it writes the cgroup's intent; tasks below it
 * count there too, unless a nearer ancestor has an intent of its own.
 */
#ifndef SCHEDCP_STATS_BPF_H
#define SCHEDCP_STATS_BPF_H

#include "intent.h"
#include "schedcp_compat.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, INTENT_NR_CLASSES);
	__type(key, u32);
	__type(value, struct intent_stats);
} class_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, INTENT_MAX_CGROUPS);
	__type(key, u64);
	__type(value, struct intent_stats);
} cgroup_stats SEC(".maps");

static inline u32 stats_log2(u64 v)
{
	u32 n = 0;

	if (v >> 32) {
		v >>= 32;
		n += 32;
	}
	if (v >> 16) {
		v >>= 16;
		n += 16;
	}
	if (v >> 8) {
		v >>= 8;
		n += 8;
	}
	if (v >> 4) {
		v >>= 4;
		n += 4;
	}
	if (v >> 2) {
		v >>= 2;
		n += 2;
	}
	return n + (v >> 1);
}

static inline void stats_add(struct intent_stats *stats, bool got, u64 delay_ns, u64 run_ns,
			     bool preempted)
{
	stats->run_ns += run_ns;
	stats->preemptions += preempted;
	if (!got)
		return;
	stats->runs++;
	stats->delay_ns += delay_ns;
	stats->delay_hist[stats_log2(delay_ns) & (INTENT_HIST_BUCKETS - 1)]++;
}

/*
 * A task had a CPU for `run_ns`, and lost it unwillingly if `preempted`. If `got`, this is the first
 * heard of that run, for which it had waited `delay_ns`.
 */
static inline void stats_ran(u32 class, u64 owner, bool got, u64 delay_ns, u64 run_ns,
			     bool preempted)
{
	struct intent_stats *stats;

	stats = bpf_map_lookup_elem(&class_stats, &class);
	if (stats)
		stats_add(stats, got, delay_ns, run_ns, preempted);
	stats = owner ? bpf_map_lookup_elem(&cgroup_stats, &owner) : NULL;
	if (stats)
		stats_add(stats, got, delay_ns, run_ns, preempted);
}

#endif
