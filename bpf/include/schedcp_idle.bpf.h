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

/*
 * After a task was queued: wakes an idle CPU where it may run, its last one if that is idle. Without
 * this a task queued in the instant in which a CPU went idle waits for that CPU's next interrupt.
 */
static inline bool idle_wake(struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);

	if (!bpf_cpumask_test_cpu(cpu, p->cpus_ptr) || !scx_bpf_test_and_clear_cpu_idle(cpu))
		cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu < 0)
		return false;
	scx_bpf_kick_cpu(cpu, SC_KICK_IDLE);
	return true;
}

/* From ops.tick() while tasks wait: wakes an idle CPU that nobody saw. */
static inline void idle_wake_any(void)
{
	const struct cpumask *idle = scx_bpf_get_idle_cpumask();
	u32 cpu = bpf_cpumask_first(idle);

	scx_bpf_put_idle_cpumask(idle);
	if (cpu < scx_bpf_nr_cpu_ids())
		scx_bpf_kick_cpu(cpu, SC_KICK_IDLE);
}

#endif
