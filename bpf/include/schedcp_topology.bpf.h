/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which CPUs share a last-level cache, by the kernel's own scheduling domains (kernel/sched/topology.c:
 * sd_llc_id). Without that symbol all CPUs count as one.
 *
 * SMT siblings and NUMA nodes are the kernel's business: its idle masks know whole idle cores, and
 * scx_bpf_select_cpu_dfl() looks on the node first.
 */
#ifndef SCHEDCP_TOPOLOGY_BPF_H
#define SCHEDCP_TOPOLOGY_BPF_H

#include "schedcp_compat.bpf.h"

#define TOPOLOGY_MAX_CPUS 4096 /* powers of two, for SC_INDEX */
#define TOPOLOGY_MAX_LLCS 64   /* caches beyond these share the numbers */

extern const int sd_llc_id __ksym __weak;

static u32 nr_cpus, nr_llcs = 1;
static s32 topology_ids[TOPOLOGY_MAX_LLCS]; /* the kernel's id of each of our numbers */
static u16 topology_llcs[TOPOLOGY_MAX_CPUS];

/* The number of the CPU's last-level cache, below `nr_llcs`. */
static inline u32 cpu_llc(s32 cpu)
{
	return topology_llcs[SC_INDEX(cpu, TOPOLOGY_MAX_CPUS)];
}

/* Reads where one CPU belongs. Domains are rebuilt when CPUs come and go. */
static __noinline int topology_place(s32 cpu)
{
	const int *id;
	u32 i, found = TOPOLOGY_MAX_LLCS;

	if (!&sd_llc_id)
		return 0;
	id = bpf_per_cpu_ptr(&sd_llc_id, cpu);
	if (!id)
		return 0;
	bpf_for(i, 0, nr_llcs) {
		if (topology_ids[SC_INDEX(i, TOPOLOGY_MAX_LLCS)] == *id + 1)
			found = i;
	}
	if (found == TOPOLOGY_MAX_LLCS) {
		found = topology_ids[0] ? nr_llcs : 0; /* the first one is found empty */
		if (found >= TOPOLOGY_MAX_LLCS)
			found = (u32)*id % TOPOLOGY_MAX_LLCS;
		else
			nr_llcs = found + 1;
		topology_ids[SC_INDEX(found, TOPOLOGY_MAX_LLCS)] = *id + 1;
	}
	topology_llcs[SC_INDEX(cpu, TOPOLOGY_MAX_CPUS)] = SC_INDEX(found, TOPOLOGY_MAX_LLCS);
	return 0;
}

/* From ops.init(), before anything else. 0, or -errno with the scheduler ended. */
static inline s32 topology_init(void)
{
	u32 i;

	nr_cpus = scx_bpf_nr_cpu_ids();
	if (nr_cpus > TOPOLOGY_MAX_CPUS) {
		sc_error("%d CPUs, at most %d are supported", nr_cpus, TOPOLOGY_MAX_CPUS);
		return -E2BIG;
	}
	bpf_for(i, 0, nr_cpus)
		topology_place(i);
	return 0;
}

#endif
