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

/*
 * Looking into a queue means finding it by its number, which costs as much as a good part of a switch.
 * So every CPU remembers how many tasks of a kind had ever been queued when it last found none; until
 * there are more, it need not look. A task is counted an instant before it is in its queue; a CPU that
 * looks in that instant is told to look again: by queues_wake(), or by the queueing CPU's own next look.
 */
#define QUEUES_KINDS 8 /* at most; a power of two for SC_INDEX */

struct queues_look {
	u64 found_none_at[QUEUES_KINDS];
	bool again[QUEUES_KINDS];
} __attribute__((aligned(64)));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TOPOLOGY_MAX_CPUS);
	__type(key, u32);
	__type(value, struct queues_look);
} queues_looks SEC(".maps");

static u64 nr_queued[QUEUES_KINDS]; /* tasks, ever */

static inline struct queues_look *queues_look(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&queues_looks, &key);
}

/* From ops.enqueue(). */
static inline void queues_put(struct task_struct *p, u32 kind, u64 slice, u64 vtime, u64 enq_flags)
{
	__sync_fetch_and_add(&nr_queued[SC_INDEX(kind, QUEUES_KINDS)], 1);
	sc_insert_vtime(p, queue_at(kind, scx_bpf_task_cpu(p)), slice, vtime, enq_flags);
}

/* A task that moves between queues while they are swept: those that found none look again. */
static inline bool queues_move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u32 kind,
			       u64 vtime)
{
	__sync_fetch_and_add(&nr_queued[SC_INDEX(kind, QUEUES_KINDS)], 1);
	return sc_move_vtime(it, p, queue_at(kind, scx_bpf_task_cpu(p)), vtime);
}

/* Has a CPU look for a task that was queued. */
static inline void queues_kick(s32 cpu)
{
	struct queues_look *look = queues_look(cpu);
	u32 kind;

	if (look) {
		for (kind = 0; kind < QUEUES_KINDS; kind++)
			look->again[kind] = true;
	}
	scx_bpf_kick_cpu(cpu, SC_KICK_IDLE);
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
	queues_kick(cpu);
	return true;
}

/* Whether `cpu` knows that none of this kind waits. *asked is for queues_found_none(). */
static inline bool queues_quiet(u32 kind, s32 cpu, u64 *asked)
{
	struct queues_look *look = queues_look(cpu);
	u32 at = SC_INDEX(kind, QUEUES_KINDS);

	*asked = *(volatile u64 *)&nr_queued[at];
	if (!look || look->again[at]) {
		if (look)
			look->again[at] = false;
		return false;
	}
	return look->found_none_at[at] == *asked;
}

/* `cpu` looked into every queue of the kind after it asked, and nothing was there. */
static inline void queues_found_none(u32 kind, s32 cpu, u64 asked)
{
	struct queues_look *look = queues_look(cpu);

	if (look)
		look->found_none_at[SC_INDEX(kind, QUEUES_KINDS)] = asked;
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

/* Whether a task of this kind waits; `cpu` asks, and looks only if it does not know. */
static inline bool queues_ask(u32 kind, s32 cpu)
{
	u64 asked;

	if (queues_quiet(kind, cpu, &asked))
		return false;
	if (queues_waiting(kind))
		return true;
	queues_found_none(kind, cpu, asked);
	return false;
}

/* The same of the first `kinds` kinds, as a mask. */
static inline __noinline u32 queues_mask(u32 kinds, s32 cpu)
{
	struct queues_look *look = queues_look(cpu);
	u64 differs;
	u32 kind, mask = 0;

	if (!look)
		return 0;
	differs = *(u64 *)look->again;
	for (kind = 0; kind < QUEUES_KINDS; kind++)
		differs |= look->found_none_at[kind] ^ *(volatile u64 *)&nr_queued[kind];
	if (!differs)
		return 0;
	bpf_for(kind, 0, kinds) {
		if (queues_ask(kind, cpu))
			mask |= 1U << kind;
	}
	return mask;
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
	if (sc_first_vtime(queue_id(kind, mine), &head)) {
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

		if (other == mine || !sc_first_vtime(queue_id(kind, other), &head))
			continue;
		if (best >= 0 && !vtime_before(head + (best == mine ? slack : 0), *first))
			continue;
		best = other;
		*first = head;
	}
	return best;
}

/* From ops.dispatch(): the task of this kind that is due on `cpu`. False: none may run here. */
static __noinline bool queues_take(u32 kind, s32 cpu, u64 slack)
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
