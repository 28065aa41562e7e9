/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Idle CPUs. The kernel's helpers prefer a whole idle core, then the same last-level cache, then the
 * same node (kernel/sched/ext_idle.c); here is when to ask them.
 */
#ifndef SCHEDCP_IDLE_BPF_H
#define SCHEDCP_IDLE_BPF_H

#include "schedcp_compat.bpf.h"

/* A kernel thread of one CPU: it serves everybody on it. */
static inline bool is_percpu_kthread(struct task_struct *p)
{
	return p->flags & PF_KTHREAD && p->nr_cpus_allowed == 1;
}

/* An idle CPU where a queued task may run, its last one if that is idle; its idle mark is taken. -1: none. */
static inline s32 idle_find(struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);

	if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr) && scx_bpf_test_and_clear_cpu_idle(cpu))
		return cpu;
	return scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
}

/* Whether this is `cpu` and it runs nothing. */
static inline bool idles_here(s32 cpu)
{
	return cpu == bpf_get_smp_processor_id() && !bpf_get_current_task_btf()->pid;
}

/* Any idle CPU, -1: none. */
static inline s32 idle_any(void)
{
	const struct cpumask *idle = scx_bpf_get_idle_cpumask();
	u32 cpu = bpf_cpumask_first(idle);

	scx_bpf_put_idle_cpumask(idle);
	return cpu < scx_bpf_nr_cpu_ids() ? (s32)cpu : -1;
}

#endif
