/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What runs on each CPU, for a wake-up that asks whose CPU it may take.
 *
 * Ranks compare first by class, then by when the task is due on the time line of its class. A CPU in
 * a protected turn, or asked a moment ago, is left alone.
 */
#ifndef SCHEDCP_PREEMPT_BPF_H
#define SCHEDCP_PREEMPT_BPF_H

#include "schedcp_compat.bpf.h"
#include "schedcp_topology.bpf.h"
#include "schedcp_vtime.bpf.h"

enum {
	CLASS_NONE = 0xff,
	PREEMPT_SCAN = 64,	   /* CPUs looked at for one wake-up */
	PREEMPT_AGAIN_NS = 200000, /* until a CPU may be asked again */
};

/* One CPU's. Written by its own ops, but for `kicked_at`. */
struct running {
	u64 due;       /* of the task that runs here */
	u64 kicked_at; /* when a wake-up asked this CPU to preempt, 0: it did not */
	u32 class;     /* of the task that runs here, CLASS_NONE: none of ours */
	bool protected;
	bool hands_over; /* usually sleeps again at once */
};

static u32 preempt_turn;

static inline void running_set(struct running *running, u32 class, u64 due, bool protected)
{
	running->due = due;
	running->kicked_at = 0;
	running->protected = protected;
	running->class = class;
}

static inline void running_clear(struct running *running)
{
	running->class = CLASS_NONE;
	running->protected = false;
	running->kicked_at = 0;
}

/* The scheduler's: NULL for a CPU it does not know. */
static struct running *running_on(s32 cpu);

/*
 * A CPU where `p` may run that runs something of a lower class, or of the same class and due later
 * than `due`; the worst of those seen, its last CPU if that will do. -1: none.
 */
static __noinline s32 preempt_find(struct task_struct *p, u32 class, u64 due, u64 now)
{
	u32 i, turn = preempt_turn, nr = nr_cpus < PREEMPT_SCAN ? nr_cpus : PREEMPT_SCAN;
	u32 worst_class = class;
	u64 worst_due = due;
	s32 victim = -1, last = scx_bpf_task_cpu(p);

	preempt_turn = turn + nr;
	bpf_for(i, 0, nr + 1) {
		s32 cpu = i ? (turn + i) % (nr_cpus ?: 1) : last;
		struct running *on = running_on(cpu);

		if (!on || on->class == CLASS_NONE || on->class < worst_class || on->protected)
			continue;
		if (on->class == worst_class && !vtime_before(worst_due, on->due))
			continue;
		if (on->kicked_at && now - on->kicked_at < PREEMPT_AGAIN_NS)
			continue;
		if (!bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
			continue;
		worst_class = on->class;
		worst_due = on->due;
		victim = cpu;
		if (!i)
			break;
	}
	return victim;
}

/* Asks such a CPU to give way now. True: one was found. */
static inline bool preempt_for(struct task_struct *p, u32 class, u64 due)
{
	u64 now = sc_now();
	s32 cpu = preempt_find(p, class, due, now);
	struct running *on = cpu >= 0 ? running_on(cpu) : NULL;

	if (!on)
		return false;
	on->kicked_at = now;
	scx_bpf_kick_cpu(cpu, SC_KICK_PREEMPT);
	return true;
}

#endif
