/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dispatch queues ordered by virtual time: one for each last-level cache or, with QUEUES_BY_CPU defined
 * before this is included, one for each CPU. Either is called a place here.
 *
 * A `kind` of queue (a class, say) is one time line over all places: a CPU takes from its own place's
 * queue unless another one's first task is due earlier by more than `slack`. So tasks stay near
 * their caches, and yet no place's tasks get more than another's.
 */
#ifndef SCHEDCP_QUEUES_BPF_H
#define SCHEDCP_QUEUES_BPF_H

#include "schedcp_compat.bpf.h"
#include "schedcp_idle.bpf.h"
#include "schedcp_topology.bpf.h"
#include "schedcp_vtime.bpf.h"

#define QUEUES_SCAN 16 /* other places looked at for an earlier task; all of them by an idle CPU */

static u32 queues_turn;

#ifdef QUEUES_BY_CPU
static inline u32 queue_place(s32 cpu)
{
	return cpu;
}

static inline u32 nr_places(void)
{
	return nr_cpus;
}

static inline u32 max_places(void)
{
	return nr_cpus;
}
#else
static inline u32 queue_place(s32 cpu)
{
	return cpu_llc(cpu);
}

static inline u32 nr_places(void)
{
	return nr_llcs;
}

static inline u32 max_places(void)
{
	return TOPOLOGY_MAX_LLCS; /* CPUs that come later may bring caches */
}
#endif

static inline u64 queue_id(u32 kind, u32 place)
{
	return (u64)kind * TOPOLOGY_MAX_CPUS + place;
}

/* The queue in which a task that last ran on `cpu` waits. */
static inline u64 queue_at(u32 kind, s32 cpu)
{
	return queue_id(kind, queue_place(cpu));
}

/* From ops.init(), after topology_init(): those of `kinds` kinds. 0, or -errno. */
static inline s32 queues_init(u32 kinds)
{
	u32 kind, place;
	s32 err;

	bpf_for(kind, 0, kinds) {
		bpf_for(place, 0, max_places()) {
			err = scx_bpf_create_dsq(queue_id(kind, place), -1);
			if (err) {
				sc_error("cannot create queue %d: error %d", kind, err);
				return err;
			}
		}
	}
	return 0;
}

/*
 * How far virtual time moves while `us` pass, when everybody is served: a task that is due a share
 * of the machine uses that share of every CPU's time.
 */
static inline u64 queues_lag(u32 us)
{
	return us * 1000ULL * nr_cpus;
}

/* From ops.enqueue(). */
static inline void queues_put(struct task_struct *p, u32 kind, u64 slice, u64 vtime, u64 enq_flags)
{
	sc_insert_vtime(p, queue_at(kind, scx_bpf_task_cpu(p)), slice, vtime, enq_flags);
}

/*
 * After queues_put(): wakes an idle CPU where the task may run. Without this a task queued in the
 * instant in which a CPU went idle waits for that CPU's next interrupt. True: one was woken.
 */
static inline bool queues_wake(struct task_struct *p)
{
	s32 cpu = idle_find(p);

	if (cpu < 0)
		return false;
	scx_bpf_kick_cpu(cpu, SC_KICK_IDLE);
	return true;
}

/* Whether a task of this kind waits anywhere. */
static inline bool queues_waiting(u32 kind)
{
	u32 place;

	if (nr_places() == 1) /* most machines; and it is asked often */
		return scx_bpf_dsq_nr_queued(queue_id(kind, 0)) > 0;
	bpf_for(place, 0, nr_places()) {
		if (scx_bpf_dsq_nr_queued(queue_id(kind, place)) > 0)
			return true;
	}
	return false;
}

/*
 * Which place a CPU should serve next, in *first its first task's virtual time. -1: nothing waits
 * here, and nothing due was seen elsewhere.
 */
static __noinline s64 queues_next(u32 kind, s32 cpu, u64 slack, u64 *first)
{
	u32 i, mine = queue_place(cpu), turn, nr = nr_places(), scan = nr;
	u64 head = 0;
	s64 best = -1;

	if (!first)
		return -1;
	if (sc_first_vtime(queue_id(kind, mine), cpu, &head)) {
		best = mine;
		*first = head;
	}
	if (nr < 2)
		return best;
	if (scan > QUEUES_SCAN)
		scan = QUEUES_SCAN;
	turn = queues_turn++;
	bpf_for(i, 0, scan) {
		u32 other = (turn + i) % nr;

		if (other == mine || !sc_first_vtime(queue_id(kind, other), cpu, &head))
			continue;
		if (best >= 0 && !vtime_before(head + (best == mine ? slack : 0), *first))
			continue;
		best = other;
		*first = head;
	}
	return best;
}

/* From ops.dispatch(): the task of this kind that is due on `cpu`. False: none may run here. */
__noinline bool queues_take(u32 kind, s32 cpu, u64 slack)
{
	u32 i, mine = queue_place(cpu), nr = nr_places();
	u64 first = 0;
	s64 next;

	if (nr == 1)
		return sc_move_to_local(queue_id(kind, 0));
	next = queues_next(kind, cpu, slack, &first);
	if (next < 0 && nr <= QUEUES_SCAN)
		return false;
	if (next >= 0 && sc_move_to_local(queue_id(kind, next)))
		return true;
	bpf_for(i, 0, nr) {
		if (sc_move_to_local(queue_id(kind, (mine + i) % nr)))
			return true;
	}
	return false;
}

#endif
