/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * intent: CPU time by what an application wants.
 *
 * Every task belongs to one of five classes by its cgroup (map `intents`, written live). Classes
 * are served in order: latency, interactive, normal, batch, background. Inside a class tasks are
 * served by virtual time, charged by the share that cpu.weight and nice give them. A waking task
 * takes the CPU from a task of a lower class. Batch and background run in long slices.
 *
 * Nobody starves, for two reasons. A class that waits earns its floor (a percentage of what the
 * CPU gives to others) and is served in turns of `floor_turn_us` that are not preempted. A task
 * that has waited `max_wait_ms` moves to a queue of the overdue, which has a floor of its own.
 *
 * Idle CPUs are chosen by the kernel's helper: an idle core first, then near the last CPU.
 *
 * Suits: servers and desktops that share a machine with builds, backups and other bulk work.
 * Bad at: machines of many NUMA nodes (one queue for each class serves the whole machine), and
 * gang scheduling.
 */
#include "schedcp_compat.bpf.h"

#include "intent.h"
#include "schedcp_exit.bpf.h"
#include "schedcp_intents.bpf.h"
#include "schedcp_stats.bpf.h"
#include "schedcp_vtime.bpf.h"
#include "schedcp_weights.bpf.h"

char _license[] SEC("license") = "GPL";

/* ------------------------------------------------------------------ tunables */

/* How long a task may run while another one of its class waits. Microseconds. */
SC_LIVE u32 latency_slice_us = 2000;
SC_LIVE u32 interactive_slice_us = 3000;
SC_LIVE u32 normal_slice_us = 5000;
SC_LIVE u32 batch_slice_us = 20000;
SC_LIVE u32 background_slice_us = 10000;

/* The least a waiting class gets of each CPU, in percent. Latency is served first anyway. */
SC_LIVE u32 interactive_floor_pct = 15;
SC_LIVE u32 normal_floor_pct = 15;
SC_LIVE u32 batch_floor_pct = 10;
SC_LIVE u32 background_floor_pct = 3;
SC_LIVE u32 overdue_floor_pct = 20;

/* One turn of a class that is served for its floor, or of an overdue task. Microseconds. */
SC_LIVE u32 floor_turn_us = 2000;

/* A task that waits longer counts as overdue. Milliseconds. */
SC_LIVE u32 max_wait_ms = 2000;

/* Virtual time that a task may save up by sleeping. Microseconds. */
SC_LIVE u32 sleep_credit_us = 10000;

/* Wake-ups in this class and those above it preempt lower classes; 0 is latency alone. */
SC_LIVE u32 preempt_class = INTENT_NORMAL;

/* The class of a task for which no cgroup has an intent. */
const volatile u32 default_class = INTENT_NORMAL;

/* What the loader asks of the kernel, where the kernel has it. */
const volatile u32 wanted_flags = WANT_ENQ_MIGRATION_DISABLED | WANT_HAS_CGROUP_WEIGHT;

/* ------------------------------------------------------------------ state */

enum {
	DSQ_OVERDUE = INTENT_NR_CLASSES, /* beside one DSQ for each class, with its number */
	NR_DSQS,
	DSQ_PLACES = 8, /* of arrays by DSQ; a power of two for SC_INDEX */
	CLASS_NONE = 0xff,

	MAX_CPUS = 4096,
	MAX_DEBT_TURNS = 64,
	MAX_SCAN = 64,		  /* CPUs looked at for one to preempt */
	MAX_SWEEP = 2048,	  /* tasks of one DSQ looked at in one sweep */
	LAG_MAX_NS = 10000000000, /* furthest that a task is put behind its class */
	KICK_NS = 1000000,	  /* a CPU that was kicked is left alone for as long */
};

struct task_ctx {
	struct intent_cache intent;
	u64 group;	/* cgroup with the cpu controller */
	u64 vtime;	/* on the time line of its class */
	u64 share;	/* of the machine, when last charged */
	u64 run_at;	/* charged until then */
	u64 wait_since; /* wants a CPU since then */
	u32 counted;	/* weight with which its group counts it, 0: not runnable */
	bool overdue;	/* runs, or will, as an overdue one */
	bool to_idle;	/* was sent to an idle CPU: nobody had to wait for it */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} task_ctxs SEC(".maps");

struct cpu_ctx {
	s64 owed[DSQ_PLACES]; /* nanoseconds that a waiting class is due here */
	u64 kicked_at;	      /* when a wake-up asked this CPU to preempt, 0: it did not */
	u32 class;	      /* what runs here, CLASS_NONE: nothing of ours */
	u32 floor_turn;	      /* class that was just given a turn, CLASS_NONE: none */
	bool protected;	      /* what runs here is in its turn */
} __attribute__((aligned(64)));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CPUS);
	__type(key, u32);
	__type(value, struct cpu_ctx);
} cpu_ctxs SEC(".maps");

static u64 class_vtime[DSQ_PLACES];
static u64 swept_at, swept_generation, nr_sweeps;
static u32 nr_cpus, next_scan;

/* ------------------------------------------------------------------ helpers */

static struct task_ctx *task_ctx(struct task_struct *p)
{
	return bpf_task_storage_get(&task_ctxs, p, 0, 0);
}

static struct cpu_ctx *cpu_ctx(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&cpu_ctxs, &key);
}

static u64 slice_ns(u32 class)
{
	switch (class) {
	case INTENT_LATENCY: return latency_slice_us * 1000ULL;
	case INTENT_INTERACTIVE: return interactive_slice_us * 1000ULL;
	case INTENT_BATCH: return batch_slice_us * 1000ULL;
	case INTENT_BACKGROUND: return background_slice_us * 1000ULL;
	default: return normal_slice_us * 1000ULL;
	}
}

static u32 floor_pct(u32 dsq)
{
	switch (dsq) {
	case INTENT_INTERACTIVE: return interactive_floor_pct;
	case INTENT_NORMAL: return normal_floor_pct;
	case INTENT_BATCH: return batch_floor_pct;
	case INTENT_BACKGROUND: return background_floor_pct;
	case DSQ_OVERDUE: return overdue_floor_pct;
	default: return 0;
	}
}

static u64 floor_turn_ns(void)
{
	return floor_turn_us * 1000ULL;
}

static u64 vtime_now(u32 class)
{
	return class_vtime[SC_INDEX(class, DSQ_PLACES)];
}

static u32 task_class(struct task_ctx *tctx)
{
	return tctx->intent.class < INTENT_NR_CLASSES ? tctx->intent.class : INTENT_NORMAL;
}

/* Kernel threads serve everybody: without a word about them they are interactive. */
static u32 fallback_class(struct task_struct *p)
{
	return p->flags & PF_KTHREAD ? INTENT_INTERACTIVE : default_class;
}

static bool is_percpu_kthread(struct task_struct *p)
{
	return p->flags & PF_KTHREAD && p->nr_cpus_allowed == 1;
}

/* Asks for the class again if it may have changed; the task keeps its lag on the new time line. */
static bool refresh_class(struct task_struct *p, struct task_ctx *tctx)
{
	u32 old = task_class(tctx);

	if (!intents_refresh(p, &tctx->intent, fallback_class(p)))
		return false;
	tctx->vtime += vtime_now(task_class(tctx)) - vtime_now(old);
	return true;
}

/* A waiting class earned `ns`; it saves up four turns at most. */
static s64 credited(s64 owed, u64 ns)
{
	s64 most = 4 * floor_turn_ns();

	owed += ns;
	return owed < most ? owed : most;
}

/*
 * A class ran for `ns`. In a turn it pays in full, for turns end at a tick and so may be longer than
 * meant. What it got in its order costs it no more than its next turn.
 */
static s64 debited(s64 owed, u64 ns, bool in_turn)
{
	s64 least = -(s64)floor_turn_ns();

	if (in_turn)
		least *= MAX_DEBT_TURNS;
	else if (owed < least)
		least = owed;
	owed -= ns;
	return owed > least ? owed : least;
}

/*
 * Charges a running task until now: its virtual time, the floors of the classes that wait for
 * this CPU, the statistics.
 */
static void charge(struct task_struct *p, struct task_ctx *tctx, struct cpu_ctx *cctx, u64 now,
		   bool preempted)
{
	u64 ran = vtime_before(tctx->run_at, now) ? now - tctx->run_at : 0;
	u32 class = task_class(tctx), mine = tctx->overdue ? DSQ_OVERDUE : class, dsq;

	tctx->run_at = now;
	tctx->share = weights_share(tctx->group, p->scx.weight);
	tctx->vtime += vtime_charge(ran, tctx->share);
	stats_stop(class, tctx->intent.owner, ran, preempted);

	bpf_for(dsq, INTENT_INTERACTIVE, NR_DSQS) {
		s64 *owed = &cctx->owed[SC_INDEX(dsq, DSQ_PLACES)];

		if (dsq == mine)
			*owed = debited(*owed, ran, cctx->protected);
		else if (scx_bpf_dsq_nr_queued(dsq) > 0)
			*owed = credited(*owed, ran * floor_pct(dsq) / 100);
	}
}

/* Where a task that becomes runnable stands: neither rich from sleeping, nor in debt for ever. */
static void bound_vtime(struct task_ctx *tctx)
{
	u32 class = task_class(tctx);
	u64 now = vtime_now(class), behind = vtime_charge(slice_ns(class), tctx->share);

	if (behind > LAG_MAX_NS)
		behind = LAG_MAX_NS;
	tctx->vtime = vtime_max(tctx->vtime, now - sleep_credit_us * 1000ULL);
	tctx->vtime = vtime_min(tctx->vtime, now + behind);
}

/* A CPU where `p` may run that runs a lower class than `class`, the lowest of those seen; or -1. */
static s32 find_victim(struct task_struct *p, u32 class, u64 now)
{
	u32 i, worst = class, first = next_scan, nr = nr_cpus < MAX_SCAN ? nr_cpus : MAX_SCAN;
	s32 victim = -1, last = scx_bpf_task_cpu(p);

	next_scan = first + nr;
	bpf_for(i, 0, nr + 1) {
		s32 cpu = i ? (first + i) % (nr_cpus ?: 1) : last;
		struct cpu_ctx *cctx = cpu_ctx(cpu);

		if (!cctx || cctx->class == CLASS_NONE || cctx->class <= worst || cctx->protected)
			continue;
		if (cctx->kicked_at && now - cctx->kicked_at < KICK_NS)
			continue;
		if (!bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
			continue;
		worst = cctx->class;
		victim = cpu;
		if (worst == INTENT_BACKGROUND || (!i && worst >= INTENT_BATCH))
			break;
	}
	return victim;
}

/* A task was queued: an idle CPU takes it, or one that runs a lower class if it just woke up. */
static void find_cpu_for(struct task_struct *p, u32 class, u64 enq_flags)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	struct cpu_ctx *cctx;
	u64 now;

	if (cpu >= 0) {
		scx_bpf_kick_cpu(cpu, SC_KICK_IDLE);
		return;
	}
	if (!(enq_flags & SC_ENQ_WAKEUP) || class > preempt_class)
		return;
	now = sc_now();
	cpu = find_victim(p, class, now);
	cctx = cpu >= 0 ? cpu_ctx(cpu) : NULL;
	if (!cctx)
		return;
	cctx->kicked_at = now;
	scx_bpf_kick_cpu(cpu, SC_KICK_PREEMPT);
}

/* ------------------------------------------------------------------ the sweep */

/* Queued tasks of one DSQ: to the DSQ of their new class, or to the overdue after a long wait. */
static __noinline int sweep_dsq(u32 dsq, u64 now, u64 iter_flags)
{
	struct bpf_iter_scx_dsq it;
	u32 i;

	if (!bpf_iter_scx_dsq_new(&it, dsq, iter_flags)) {
		bpf_for(i, 0, MAX_SWEEP) {
			struct task_struct *p = bpf_iter_scx_dsq_next(&it);
			struct task_ctx *tctx = p ? task_ctx(p) : NULL;

			if (!p)
				break;
			if (!tctx)
				continue;
			if (refresh_class(p, tctx))
				sc_move_vtime(&it, p, task_class(tctx), tctx->vtime);
			else if (now - tctx->wait_since > max_wait_ms * 1000000ULL &&
				 vtime_before(tctx->wait_since, now))
				tctx->overdue = sc_move(&it, p, DSQ_OVERDUE);
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return 0;
}

/* One CPU looks at all that waits: when intents changed, and eight times in `max_wait_ms`. */
static void sweep(u64 now)
{
	u64 last = swept_at, generation = intents_now(), flags;
	u32 dsq;

	if (generation == swept_generation && now - last < max_wait_ms * 125000ULL)
		return;
	if (!__sync_bool_compare_and_swap(&swept_at, last, now))
		return;
	swept_generation = generation;
	flags = nr_sweeps++ & 1 ? SC_DSQ_ITER_REV : 0; /* a long queue is seen from both ends */
	bpf_for(dsq, 0, INTENT_NR_CLASSES)
		sweep_dsq(dsq, now, flags);
}

/* ------------------------------------------------------------------ ops, in the order of a run */

s32 SC_OP(intent_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);

	if (idle && tctx) {
		refresh_class(p, tctx);
		tctx->to_idle = true;
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(task_class(tctx)), 0);
	}
	return cpu;
}

void SC_OP(intent_runnable, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx)
		return;
	refresh_class(p, tctx);
	weights_count(tctx->group, tctx->counted, p->scx.weight);
	tctx->counted = p->scx.weight;
	tctx->wait_since = sc_now();
	tctx->overdue = false;
	bound_vtime(tctx);
	if (tctx->to_idle) { /* whatever it owes, nobody waits for it */
		tctx->vtime = vtime_min(tctx->vtime, vtime_now(task_class(tctx)));
		tctx->to_idle = false;
	}
}

void SC_OP(intent_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	u32 class;

	if (!tctx) {
		sc_error("no context for %s[%d]", p->comm, p->pid);
		return;
	}
	refresh_class(p, tctx);
	class = task_class(tctx);
	bound_vtime(tctx);

	/*
	 * A waking per-CPU kernel thread goes first on its CPU. When it has used up its slice it
	 * queues with everybody: the local DSQ is served before ops.dispatch() is asked.
	 */
	if (is_percpu_kthread(p) && enq_flags & SC_ENQ_WAKEUP) {
		struct cpu_ctx *cctx = cpu_ctx(scx_bpf_task_cpu(p));

		if (cctx && cctx->class != CLASS_NONE && cctx->class >= INTENT_NORMAL)
			enq_flags |= SC_ENQ_PREEMPT;
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(class), enq_flags);
		return;
	}
	sc_insert_vtime(p, class, slice_ns(class), tctx->vtime, enq_flags);
	find_cpu_for(p, class, enq_flags);
}

/* A class or the overdue that this CPU owes a turn, the lowest first. True: moved one. */
static bool serve_owed(struct cpu_ctx *cctx)
{
	u32 i;

	bpf_for(i, 0, NR_DSQS - 1) {
		u32 dsq = DSQ_OVERDUE - i;

		if (cctx->owed[SC_INDEX(dsq, DSQ_PLACES)] < (s64)floor_turn_ns())
			continue;
		if (!sc_move_to_local(dsq))
			continue;
		cctx->floor_turn = dsq;
		return true;
	}
	return false;
}

void SC_OP(intent_dispatch, s32 cpu, struct task_struct *prev)
{
	struct cpu_ctx *cctx = cpu_ctx(cpu);
	struct task_ctx *tctx = NULL;
	u32 class, prev_class = CLASS_NONE;
	u64 now = sc_now(), first;

	if (!cctx)
		return;
	if (prev && prev->scx.flags & SC_TASK_QUEUED) {
		tctx = task_ctx(prev);
		if (tctx) {
			charge(prev, tctx, cctx, now, false);
			refresh_class(prev, tctx);
			prev_class = task_class(tctx);
		}
	}
	cctx->floor_turn = CLASS_NONE;
	sweep(now);
	if (serve_owed(cctx))
		return;
	bpf_for(class, 0, INTENT_NR_CLASSES) {
		if (class == prev_class &&
		    (!sc_first_vtime(class, &first) || !vtime_before(first, tctx->vtime)))
			break;
		if (sc_move_to_local(class))
			return;
		if (class == prev_class) /* the first one may not run here */
			break;
	}
	if (prev_class == CLASS_NONE) {
		sc_move_to_local(DSQ_OVERDUE);
		return;
	}
	/* Nobody is due before the task that ran until now: it goes on. */
	sc_set_slice(prev, slice_ns(prev_class));
	cctx->class = prev_class;
	cctx->protected = false;
	cctx->kicked_at = 0;
	tctx->overdue = false;
}

void SC_OP(intent_running, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx(p);
	struct cpu_ctx *cctx = cpu_ctx(scx_bpf_task_cpu(p));
	u64 now = sc_now();
	u32 class;

	if (!tctx || !cctx)
		return;
	class = task_class(tctx);
	tctx->run_at = now;
	stats_run(class, tctx->intent.owner,
		  vtime_before(tctx->wait_since, now) ? now - tctx->wait_since : 0);

	cctx->class = class;
	cctx->kicked_at = 0;
	cctx->protected = tctx->overdue || cctx->floor_turn == class;
	cctx->floor_turn = CLASS_NONE;
	if (cctx->protected)
		sc_set_slice(p, floor_turn_ns());

	if (tctx->overdue) /* it did not come in its order */
		tctx->vtime = vtime_min(tctx->vtime, vtime_now(class));
	else
		class_vtime[SC_INDEX(class, DSQ_PLACES)] = vtime_max(vtime_now(class), tctx->vtime);
}

void SC_OP(intent_tick, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx(p);
	struct cpu_ctx *cctx = cpu_ctx(scx_bpf_task_cpu(p));
	const struct cpumask *idle;
	bool waiting = false;
	u32 dsq, class;
	s32 cpu;

	if (!tctx || !cctx)
		return;
	if (tctx->intent.generation != intents_now()) {
		charge(p, tctx, cctx, sc_now(), false);
		if (refresh_class(p, tctx)) {
			cctx->class = task_class(tctx);
			if (p->scx.slice > slice_ns(cctx->class))
				sc_set_slice(p, slice_ns(cctx->class));
		}
	}
	class = task_class(tctx);
	bpf_for(dsq, 0, NR_DSQS) {
		if (scx_bpf_dsq_nr_queued(dsq) <= 0)
			continue;
		waiting = true;
		if (dsq < class && !cctx->protected) {
			sc_set_slice(p, 0); /* somebody above waits: ask ops.dispatch() now */
			break;
		}
	}
	if (!waiting)
		return;
	/* A task queued in the instant in which a CPU went idle was seen by nobody. */
	idle = scx_bpf_get_idle_cpumask();
	cpu = bpf_cpumask_empty(idle) ? -1 : (s32)bpf_cpumask_first(idle);
	scx_bpf_put_idle_cpumask(idle);
	if (cpu >= 0 && cpu < nr_cpus)
		scx_bpf_kick_cpu(cpu, SC_KICK_IDLE);
}

void SC_OP(intent_stopping, struct task_struct *p, bool runnable)
{
	struct task_ctx *tctx = task_ctx(p);
	struct cpu_ctx *cctx = cpu_ctx(scx_bpf_task_cpu(p));
	u64 now = sc_now();

	if (!tctx || !cctx)
		return;
	charge(p, tctx, cctx, now, runnable && (cctx->kicked_at || p->scx.slice));
	tctx->overdue = false;
	tctx->wait_since = now;
	cctx->class = CLASS_NONE;
	cctx->protected = false;
	cctx->kicked_at = 0;
}

void SC_OP(intent_quiescent, struct task_struct *p, u64 deq_flags)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx)
		return;
	weights_count(tctx->group, tctx->counted, 0);
	tctx->counted = 0;
}

/* ------------------------------------------------------------------ ops: tasks and cgroups */

void SC_OP(intent_set_weight, struct task_struct *p, u32 weight)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx || !tctx->counted)
		return;
	weights_count(tctx->group, tctx->counted, weight);
	tctx->counted = weight;
}

s32 SC_OP_SLEEPABLE(intent_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *tctx;

	tctx = bpf_task_storage_get(&task_ctxs, p, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!tctx)
		return -ENOMEM;
	tctx->intent.class = INTENT_NORMAL;
	tctx->share = SHARE_ONE;
	tctx->vtime = vtime_now(INTENT_NORMAL);
	if (bpf_core_field_exists(args->cgroup))
		tctx->group = sc_cgroup_id(args->cgroup);
	return 0;
}

void SC_OP(intent_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx)
		return;
	weights_count(tctx->group, tctx->counted, 0);
	tctx->counted = 0;
}

s32 SC_OP_SLEEPABLE(intent_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	return weights_add(cgrp, args->weight);
}

void SC_OP_SLEEPABLE(intent_cgroup_exit, struct cgroup *cgrp)
{
	weights_remove(cgrp);
}

/* The task is dequeued: quiescent came before, runnable follows. */
void SC_OP(intent_cgroup_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	struct task_ctx *tctx = task_ctx(p);
	u32 counted;

	if (!tctx)
		return;
	counted = tctx->counted;
	weights_count(tctx->group, counted, 0);
	tctx->group = sc_cgroup_id(to);
	weights_count(tctx->group, 0, counted);
}

void SC_OP(intent_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	weights_set(cgrp, weight);
}

/* ------------------------------------------------------------------ ops: CPUs and life */

/* Having these two tells the kernel that we go on when CPUs come and go. */
void SC_OP(intent_cpu_online, s32 cpu)
{
	struct cpu_ctx *cctx = cpu_ctx(cpu);

	if (cctx)
		cctx->class = CLASS_NONE;
}

void SC_OP(intent_cpu_offline, s32 cpu)
{
	struct cpu_ctx *cctx = cpu_ctx(cpu);

	if (cctx)
		cctx->class = CLASS_NONE;
}

void SC_OP(intent_dump, struct scx_dump_ctx *dctx)
{
	u32 dsq;

	bpf_for(dsq, 0, NR_DSQS)
		sc_dump("intent: queue %d has %d tasks, virtual time %llu", dsq,
			scx_bpf_dsq_nr_queued(dsq), vtime_now(dsq));
}

s32 SC_OP_SLEEPABLE(intent_init)
{
	s32 err;
	u32 i;

	nr_cpus = scx_bpf_nr_cpu_ids();
	if (nr_cpus > MAX_CPUS) {
		sc_error("%d CPUs, at most %d are supported", nr_cpus, MAX_CPUS);
		return -E2BIG;
	}
	bpf_for(i, 0, nr_cpus) {
		struct cpu_ctx *cctx = cpu_ctx(i);

		if (cctx) {
			cctx->class = CLASS_NONE;
			cctx->floor_turn = CLASS_NONE;
		}
	}
	bpf_for(i, 0, NR_DSQS) {
		err = scx_bpf_create_dsq(i, -1);
		if (err) {
			sc_error("cannot create queue %d: error %d", i, err);
			return err;
		}
	}
	return 0;
}

void SC_OP_SLEEPABLE(intent_exit, struct scx_exit_info *ei)
{
	exit_record_fill(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops intent_ops = {
	.select_cpu = (void *)intent_select_cpu,
	.runnable = (void *)intent_runnable,
	.enqueue = (void *)intent_enqueue,
	.dispatch = (void *)intent_dispatch,
	.running = (void *)intent_running,
	.tick = (void *)intent_tick,
	.stopping = (void *)intent_stopping,
	.quiescent = (void *)intent_quiescent,
	.set_weight = (void *)intent_set_weight,
	.init_task = (void *)intent_init_task,
	.exit_task = (void *)intent_exit_task,
	.cgroup_init = (void *)intent_cgroup_init,
	.cgroup_exit = (void *)intent_cgroup_exit,
	.cgroup_move = (void *)intent_cgroup_move,
	.cgroup_set_weight = (void *)intent_cgroup_set_weight,
	.cpu_online = (void *)intent_cpu_online,
	.cpu_offline = (void *)intent_cpu_offline,
	.dump = (void *)intent_dump,
	.init = (void *)intent_init,
	.exit = (void *)intent_exit,
	.timeout_ms = 20000,
	.name = "schedcp_intent",
};
