/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * intent: CPU time by what an application wants.
 *
 * Every task belongs to one of five classes by its cgroup (map `intents`, written live). Classes
 * are served in order: latency, interactive, normal, batch, background. Inside a class the earliest
 * virtual deadline is served: a task's virtual time, charged by the share that cpu.weight and nice give
 * it, plus what it usually runs between two sleeps. A waking task takes the CPU from a task of a
 * lower class, or of its own that is due later. Batch and background run in long slices.
 *
 * Nobody starves, for two reasons. A class that waits earns its floor (a percentage of the CPU)
 * and is served in turns of `floor_turn_us` that are not preempted. A task
 * that has waited `max_wait_ms` moves to a queue of the overdue, which has a floor of its own.
 *
 * Idle CPUs are chosen by the kernel's helper: an idle core first, then within the last-level cache, then
 * on the node. Every class has a queue for each last-level cache; a CPU serves its own, and another one's
 * when nobody waits here or somebody there is left behind by more than `balance_us`.
 *
 * Suits: servers and desktops that share a machine with builds, backups and other bulk work.
 * Bad at: gang scheduling, and machines so large that one CPU cannot look at all waiting tasks eight
 * times in `max_wait_ms`.
 */
#include "schedcp_compat.bpf.h"

#include "schedcp_account.bpf.h"
#include "schedcp_limits.bpf.h"
#include "schedcp_preempt.bpf.h"
#include "schedcp_queues.bpf.h"

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

/* A task that waits at another cache is fetched when it is due earlier by as much. Microseconds. */
SC_LIVE u32 balance_us = 5000;

/* A wake-up takes a CPU of its own class only from a task that is due later by as much. Microseconds. */
SC_LIVE u32 preempt_margin_us = 100;

/* A task that usually sleeps again this soon is let finish. Microseconds. */
SC_LIVE u32 brief_us = 300;

/* Wake-ups in this class and those above it take CPUs; 0 is latency alone. */
SC_LIVE u32 preempt_class = INTENT_NORMAL;

/* The class of a task for which no cgroup has an intent. */
const volatile u32 default_class = INTENT_NORMAL;

/* What the loader asks of the kernel, where the kernel has it. */
const volatile u32 wanted_flags = WANT_ENQ_LAST | WANT_ENQ_MIGRATION_DISABLED |
				  WANT_HAS_CGROUP_WEIGHT | WANT_ALLOW_QUEUED_WAKEUP;

/* ------------------------------------------------------------------ state */

enum {
	OVERDUE =
		INTENT_NR_CLASSES, /* a kind of queue beside one for each class, with its number */
	NR_KINDS,
	KIND_PLACES = 8, /* of arrays by kind; a power of two for SC_INDEX */

	MAX_DEBT_TURNS = 64,
	YIELD_NS = 100000,
	HAND_OVER_NS = 100000,
	MAX_SWEEP = 2048, /* tasks of one queue looked at in one sweep */
};

struct task_ctx {
	struct account account; /* its vtime is on the time line of its class */
	bool overdue;		/* runs, or will, as an overdue one */
	bool synced;		/* woken by one that says it will sleep: its CPU is free soon */
};

SC_TASK_STORAGE();

struct cpu_ctx {
	struct running running; /* protected: in its turn, or brief */
	s64 owed[KIND_PLACES];	/* nanoseconds that a waiting class is due here */
	u32 barren;	/* kinds of which none could run here when it was their turn, a mask */
	u32 floor_turn; /* class that was just given a turn, CLASS_NONE: none */
	bool in_turn;	/* what runs here is in its turn */
} __attribute__((aligned(64)));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TOPOLOGY_MAX_CPUS);
	__type(key, u32);
	__type(value, struct cpu_ctx);
} cpu_ctxs SEC(".maps");

static struct vtime_line lines[KIND_PLACES];
static s32 left_turns[KIND_PLACES]; /* for a CPU on which the kind may run */
static u64 swept_at, swept_generation, nr_sweeps;

/* ------------------------------------------------------------------ helpers */

static struct cpu_ctx *cpu_ctx(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&cpu_ctxs, &key);
}

static struct running *running_on(s32 cpu)
{
	struct cpu_ctx *cctx = cpu_ctx(cpu);

	return cctx ? &cctx->running : NULL;
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

static u32 floor_pct(u32 kind)
{
	switch (kind) {
	case INTENT_INTERACTIVE: return interactive_floor_pct;
	case INTENT_NORMAL: return normal_floor_pct;
	case INTENT_BATCH: return batch_floor_pct;
	case INTENT_BACKGROUND: return background_floor_pct;
	case OVERDUE: return overdue_floor_pct;
	default: return 0;
	}
}

static u64 floor_turn_ns(void)
{
	return floor_turn_us * 1000ULL;
}

static u64 vtime_now(u32 class)
{
	return lines[SC_INDEX(class, KIND_PLACES)].now;
}

static u32 task_class(struct task_ctx *tctx)
{
	return account_class(&tctx->account);
}

static u64 virtual_us(struct task_ctx *tctx, u32 us)
{
	return vtime_charge(us * 1000ULL, tctx->account.share);
}

static u64 deadline(struct task_ctx *tctx)
{
	u32 class = task_class(tctx);

	return account_deadline(&tctx->account, vtime_now(class), slice_ns(class));
}

/* Kernel threads serve everybody: without a word about them they are interactive. */
static u32 fallback_class(struct task_struct *p)
{
	return p->flags & PF_KTHREAD ? INTENT_INTERACTIVE : default_class;
}

/* Asks for the class again if it may have changed; the task keeps its lag on the new time line. */
static bool refresh_class(struct task_struct *p, struct task_ctx *tctx)
{
	u32 old = task_class(tctx);

	if (!intents_refresh(p, &tctx->account.intent, fallback_class(p)))
		return false;
	tctx->account.vtime += vtime_now(task_class(tctx)) - vtime_now(old);
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

/* What a waiting class earns while others run for `ran`, so that its turns are `pct` of the whole. */
static u64 floor_earned(u64 ran, u32 pct)
{
	return ran * pct / (100 - pct);
}

/* A task ran for `ran`: the floors of the classes that wait for this CPU. */
static __noinline int settle_floors(struct cpu_ctx *cctx, u32 waiting, u32 mine, u64 ran)
{
	s64 *own;
	u32 kind;

	if (!cctx)
		return 0;
	own = &cctx->owed[SC_INDEX(mine, KIND_PLACES)];
	*own = debited(*own, ran, cctx->in_turn);
	for (kind = INTENT_INTERACTIVE; kind < NR_KINDS; kind++) {
		s64 *owed = &cctx->owed[SC_INDEX(kind, KIND_PLACES)];

		if (kind != mine && waiting & 1U << kind)
			*owed = credited(*owed, floor_earned(ran, floor_pct(kind)));
	}
	return 0;
}

/* The rest of a charge: time line, floors of the others, limits. True: no time is left of cpu.max. */
static bool charge(struct cpu_ctx *cctx, u32 waiting, struct task_ctx *tctx, u64 now, u64 ran)
{
	u32 mine = tctx->overdue ? OVERDUE : task_class(tctx);

	if (!tctx->overdue)
		vtime_move(&lines[SC_INDEX(mine, KIND_PLACES)],
			   tctx->account.vtime - vtime_charge(ran, tctx->account.share), now,
			   nr_cpus);
	settle_floors(cctx, waiting, mine, ran);
	return limits_ran(&tctx->account, ran);
}

/* A task wants a CPU: it is counted, and neither rich from sleeping nor in debt for ever. */
static void wake(struct task_struct *p, struct task_ctx *tctx)
{
	bool woke;
	u32 class;

	refresh_class(p, tctx);
	woke = account_wake(p, &tctx->account, fallback_class(p));
	if (woke)
		tctx->overdue = false;
	class = task_class(tctx);
	account_bound(&tctx->account, vtime_now(class), woke, sleep_credit_us * 1000ULL,
		      slice_ns(class));
}

/* What is known of a task as it gets a CPU, for wake-ups that want it. */
static void now_runs(struct cpu_ctx *cctx, struct task_ctx *tctx)
{
	u32 class = task_class(tctx);
	u64 burst = account_burst(&tctx->account, slice_ns(class));

	running_set(&cctx->running, class, deadline(tctx),
		    cctx->in_turn || burst < brief_us * 1000ULL);
	cctx->running.hands_over = burst < HAND_OVER_NS;
}

/* ------------------------------------------------------------------ the sweep */

/* A queued task of the queue that is swept: to another one. False: somebody else took it. */
static bool move(struct bpf_iter_scx_dsq *it, struct task_struct *p, struct task_ctx *tctx,
		 u32 kind, u64 due)
{
	waiting_add(kind, 1);
	if (!sc_move_vtime(it, p, queue_at(kind, scx_bpf_task_cpu(p)), due)) {
		waiting_add(kind, -1);
		return false;
	}
	account_waits_in(&tctx->account, kind + 1);
	return true;
}

/* Queued tasks of one queue: to that of their new class, or to the overdue after a long wait. */
static __noinline int sweep_queue(u64 queue, u64 now, u64 iter_flags)
{
	struct bpf_iter_scx_dsq it;
	u32 i;

	if (!bpf_iter_scx_dsq_new(&it, queue, iter_flags)) {
		bpf_for(i, 0, MAX_SWEEP) {
			struct task_struct *p = bpf_iter_scx_dsq_next(&it);
			struct task_ctx *tctx = p ? task_ctx(p) : NULL;
			u64 since;

			if (!p)
				break;
			if (!tctx)
				continue;
			since = tctx->account.wait_since;
			if (refresh_class(p, tctx))
				move(&it, p, tctx, task_class(tctx), deadline(tctx));
			else if (since && vtime_before(since + max_wait_ms * 1000000ULL, now))
				tctx->overdue = move(&it, p, tctx, OVERDUE, since);
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return 0;
}

/* Tasks that were put aside and whose groups have time again go into the queues of their classes. */
__noinline int go_on_within_limits(void)
{
	u64 now = bpf_ktime_get_ns();
	struct bpf_iter_scx_dsq it;
	u32 i;

	if (!bpf_iter_scx_dsq_new(&it, queue_id(LIMITS_KIND, 0), 0)) {
		bpf_for(i, 0, LIMITS_RELEASE) {
			struct task_struct *p = bpf_iter_scx_dsq_next(&it);
			struct task_ctx *tctx = p ? task_ctx(p) : NULL;

			if (!p || vtime_before(now, p->scx.dsq_vtime))
				break;
			if (!tctx)
				continue;
			tctx->account.wait_since = sc_now(); /* until here it was not due */
			if (move(&it, p, tctx, task_class(tctx), deadline(tctx)))
				queues_wake(p);
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return 0;
}

/* One CPU looks at all that waits, and says true: when intents changed, and eight times in `max_wait_ms`. */
static __noinline bool sweep(u64 now)
{
	u64 last = swept_at, generation = intents_now(), flags;
	u32 class, place;

	if (generation == swept_generation && now - last < max_wait_ms * 125000ULL)
		return false;
	if (!__sync_bool_compare_and_swap(&swept_at, last, now))
		return false;
	swept_generation = generation;
	flags = nr_sweeps++ & 1 ? SC_DSQ_ITER_REV : 0; /* a long queue is seen from both ends */
	bpf_for(class, 0, INTENT_NR_CLASSES) {
		bpf_for(place, 0, nr_places())
			sweep_queue(queue_id(class, place), now, flags);
	}
	return true;
}

/* ------------------------------------------------------------------ ops, in the order of a run */

/*
 * Whether who wakes another one on this CPU is about to sleep: it says so and usually does. If nobody
 * else waits, the other one goes on where this one stops, without a search, a queue or an interrupt.
 */
static bool hands_over(struct task_struct *p, s32 cpu)
{
	struct running *on = running_on(cpu);

	return on && on->class != CLASS_NONE && on->hands_over &&
	       bpf_cpumask_test_cpu(cpu, p->cpus_ptr) && !account_waiting(NR_KINDS);
}

s32 SC_OP(intent_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	s32 cpu = bpf_get_smp_processor_id();
	bool direct = false;
	u32 class;

	s32 other = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags & ~SC_WAKE_SYNC, &direct);

	if (direct || !(wake_flags & SC_WAKE_SYNC) || !hands_over(p, cpu))
		cpu = other;
	else
		direct = true;
	if (!tctx)
		return cpu;
	tctx->synced = wake_flags & SC_WAKE_SYNC;
	if (direct && !limits_until(p, &tctx->account)) {
		wake(p, tctx);
		class = task_class(tctx);
		/* whatever it owes, nobody waits for it */
		tctx->account.vtime = vtime_min(tctx->account.vtime, vtime_now(class));
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(class), 0);
	}
	return cpu;
}

void SC_OP(intent_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	s32 cpu = scx_bpf_task_cpu(p);
	u32 class;
	u64 due, until;

	if (!tctx) {
		sc_error("no context for %s[%d]", p->comm, p->pid);
		return;
	}
	wake(p, tctx);
	class = task_class(tctx);
	until = limits_until(p, &tctx->account);
	if (until) {
		limits_put(p, &tctx->account, slice_ns(class), until, enq_flags);
		return;
	}
	if (enq_flags & SC_ENQ_LAST) { /* nobody else is here */
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(class), enq_flags);
		return;
	}

	/*
	 * A waking per-CPU kernel thread goes first on its CPU. When it has used up its slice it
	 * queues with everybody: the local DSQ is served before ops.dispatch() is asked.
	 */
	if (is_percpu_kthread(p) && enq_flags & SC_ENQ_WAKEUP) {
		struct running *on = running_on(cpu);

		if (on && on->class != CLASS_NONE && on->class >= INTENT_NORMAL)
			enq_flags |= SC_ENQ_PREEMPT;
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(class), enq_flags);
		return;
	}
	/* The kernel may wake it where it slept without asking: this CPU then has nothing else to do. */
	if (enq_flags & SC_ENQ_WAKEUP && idles_here(cpu) && !account_waiting(NR_KINDS)) {
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(class), enq_flags);
		return;
	}
	due = deadline(tctx);
	account_waits(&tctx->account, class);
	queues_put(p, class, slice_ns(class), due, enq_flags);
	if (!queues_wake(p) && enq_flags & SC_ENQ_WAKEUP && class <= preempt_class)
		preempt_for(p, class,
			    due + (tctx->synced ? VTIME_FAR : virtual_us(tctx, preempt_margin_us)));
}

/*
 * A class or the overdue that this CPU owes anything gets a turn, the lowest first: in advance, so that
 * what it was served never falls short of its floor. True: moved one. A CPU on which
 * none of those that wait may run leaves the turn to one on which they may.
 */
static __noinline bool serve_owed(struct cpu_ctx *cctx, s32 cpu, u32 waiting)
{
	s64 turn = floor_turn_ns();
	u32 i;

	if (!cctx)
		return false;
	for (i = 0; i < NR_KINDS - 1; i++) {
		u32 kind = OVERDUE - i, at = SC_INDEX(kind, KIND_PLACES);
		bool left = !(cctx->barren & 1U << kind) && left_turns[at] > 0;

		if (!(waiting & 1U << kind) || (cctx->owed[at] <= 0 && !left))
			continue;
		if (queues_take(kind, cpu, 0)) {
			if (cctx->owed[at] <= 0) {
				__sync_fetch_and_add(&left_turns[at], -1);
				cctx->owed[at] += turn;
			}
			cctx->barren &= ~(1U << kind);
			cctx->floor_turn = kind;
			return true;
		}
		cctx->barren |= 1U << kind;
		if (cctx->owed[at] > 0 && left_turns[at] < (s32)nr_cpus) {
			__sync_fetch_and_add(&left_turns[at], 1);
			cctx->owed[at] -= turn;
		}
	}
	return false;
}

void SC_OP(intent_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_ctx *tctx = prev && prev->scx.flags & SC_TASK_QUEUED ? task_ctx(prev) : NULL;
	struct cpu_ctx *cctx = cpu_ctx(cpu);
	u64 now, first = 0, slack = queues_lag(balance_us);
	u32 class, prev_class = CLASS_NONE, waiting;

	if (limits_aside())
		go_on_within_limits();
	waiting = account_waiting(NR_KINDS);
	if (!cctx || (!waiting && !tctx))
		return;
	now = sc_now();
	if (waiting && sweep(now))
		waiting = account_waiting(NR_KINDS);
	if (tctx && !charge(cctx, waiting, tctx, now,
			    account_charge(prev, &tctx->account, now, 1, false))) {
		refresh_class(prev, tctx);
		prev_class = task_class(tctx);
	}
	cctx->floor_turn = CLASS_NONE;
	if (!waiting)
		goto go_on;
	if (serve_owed(cctx, cpu, waiting))
		return;
	for (class = 0; class < INTENT_NR_CLASSES; class++) {
		bool waits = waiting & 1U << class;

		if (class == prev_class && (!waits || queues_next(class, cpu, slack, &first) < 0 ||
					    !vtime_before(first, deadline(tctx))))
			break;
		if (waits && queues_take(class, cpu, slack))
			return;
		if (class == prev_class) /* the first one may not run here */
			break;
	}
	if (prev_class == CLASS_NONE && waiting & 1U << OVERDUE)
		queues_take(OVERDUE, cpu, 0);
go_on:
	if (prev_class == CLASS_NONE)
		return;
	/* Nobody is due before the task that ran until now: it goes on. */
	sc_set_slice(prev, slice_ns(prev_class));
	tctx->overdue = false;
	cctx->in_turn = false;
	now_runs(cctx, tctx);
}

/*
 * Who has just begun goes on: it may hold a lock, and a round of switches would cost more than it is
 * worth. Whoever yields again and again gives way.
 */
bool SC_OP(intent_yield, struct task_struct *from, struct task_struct *to)
{
	struct task_ctx *tctx = task_ctx(from);

	if (!to && (!tctx || from->se.sum_exec_runtime - tctx->account.charged > YIELD_NS))
		sc_set_slice(from, 0);
	return false;
}

void SC_OP(intent_running, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx(p);
	struct cpu_ctx *cctx = cpu_ctx(scx_bpf_task_cpu(p));
	u32 class;

	if (!tctx || !cctx)
		return;
	account_waits_no_more(&tctx->account);
	class = task_class(tctx);
	cctx->in_turn = tctx->overdue || cctx->floor_turn == class;
	cctx->floor_turn = CLASS_NONE;
	if (cctx->in_turn)
		sc_set_slice(p, floor_turn_ns());
	if (tctx->overdue) /* it did not come in its order */
		tctx->account.vtime = vtime_min(tctx->account.vtime, vtime_now(class));
	now_runs(cctx, tctx);
}

void SC_OP(intent_tick, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx(p);
	s32 idle, cpu = scx_bpf_task_cpu(p);
	struct cpu_ctx *cctx = cpu_ctx(cpu);
	u64 now = sc_now();
	u32 waiting, class;

	if (!tctx || !cctx)
		return;
	account_look(p, &tctx->account, now);
	waiting = account_waiting(NR_KINDS);
	if (tctx->account.intent.generation != intents_now() || limits_any()) {
		if (charge(cctx, waiting, tctx, now,
			   account_charge(p, &tctx->account, now, 1, false)))
			sc_set_slice(p, 0);
		if (refresh_class(p, tctx)) {
			now_runs(cctx, tctx);
			if (p->scx.slice > slice_ns(task_class(tctx)))
				sc_set_slice(p, slice_ns(task_class(tctx)));
		}
	}
	if (!waiting)
		return;
	class = task_class(tctx);
	if (waiting & ((1U << class) - 1) && !cctx->in_turn) {
		cctx->running.kicked_at = now;
		sc_set_slice(p, 0); /* somebody above waits: ask ops.dispatch() now */
	}
	idle = idle_any();
	if (idle >= 0)
		scx_bpf_kick_cpu(idle, SC_KICK_IDLE);
}

void SC_OP(intent_stopping, struct task_struct *p, bool runnable)
{
	struct task_ctx *tctx = task_ctx(p);
	s32 cpu = scx_bpf_task_cpu(p);
	struct cpu_ctx *cctx = cpu_ctx(cpu);
	u64 now = sc_now();

	if (!tctx || !cctx)
		return;
	charge(cctx, account_waiting(NR_KINDS), tctx, now,
	       account_stop(p, &tctx->account, now, 1, runnable, cctx->running.kicked_at));
	tctx->overdue = false;
	cctx->in_turn = false;
	running_clear(&cctx->running);
}

s32 SC_OP_SLEEPABLE(intent_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *tctx = task_ctx_new(p);

	if (!tctx)
		return -ENOMEM;
	account_init(&tctx->account, args, vtime_now(INTENT_NORMAL));
	return 0;
}

SC_ACCOUNT_OPS(intent);
SC_LIMITS_OPS(intent);

/* ------------------------------------------------------------------ ops: life */

void SC_OP(intent_dump, struct scx_dump_ctx *dctx)
{
	u32 kind;

	bpf_for(kind, 0, NR_KINDS)
		sc_dump("intent: kind %d: tasks wait: %d, virtual time %llu", kind,
			queues_waiting(kind), vtime_now(kind));
}

s32 SC_OP_SLEEPABLE(intent_init)
{
	s32 err = topology_init() ?: queues_init(NR_KINDS) ?: limits_init();
	u32 cpu;

	bpf_for(cpu, 0, nr_cpus) {
		struct cpu_ctx *cctx = cpu_ctx(cpu);

		if (cctx) {
			running_clear(&cctx->running);
			cctx->floor_turn = CLASS_NONE;
		}
	}
	return err;
}

SEC(".struct_ops.link")
struct sched_ext_ops intent_ops = {
	.select_cpu = (void *)intent_select_cpu,
	.enqueue = (void *)intent_enqueue,
	.dispatch = (void *)intent_dispatch,
	.running = (void *)intent_running,
	.tick = (void *)intent_tick,
	.yield = (void *)intent_yield,
	.stopping = (void *)intent_stopping,
	.init_task = (void *)intent_init_task,
	.dump = (void *)intent_dump,
	.init = (void *)intent_init,
	SC_ACCOUNT_OPS_FIELDS(intent),
	.cgroup_set_bandwidth = (void *)intent_cgroup_set_bandwidth,
	.timeout_ms = 20000,
	.name = "schedcp_intent",
};
