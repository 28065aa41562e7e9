/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * longest_first: a batch ends soon if what takes longest is never left for last.
 *
 * A task's expected remaining work comes from a hint (by thread, command or cgroup, written by user
 * space), else from what earlier tasks of its command used, less what it used itself. Beyond
 * that nobody knows; then what ran long is expected to run long still, as work with a heavy
 * tail does. Virtual time moves slower for a task with more work than is typical, by the square of
 * how much more, so the longest one is hardly ever without a CPU; and a task that has begun
 * is let run `lead_ms` before it counts, so that equal tasks end one after the other and the long one
 * among them is found early.
 *
 * Nobody starves: one that has waited `max_wait_ms` is overdue, and every second choice is made among
 * the overdue, first come, first served, until it has run half a slice.
 *
 * Suits: builds, tests, transcodes, map-reduce: batches whose end counts.
 * Bad at: anything that people wait for; fairness between tasks of unlike length is given up.
 */
#include "schedcp_compat.bpf.h"

#include "schedcp_account.bpf.h"
#include "schedcp_hints.bpf.h"
#include "schedcp_queues.bpf.h"

char _license[] SEC("license") = "GPL";

/* How long a task may run while another one waits. Microseconds. */
SC_LIVE u32 slice_us = 10000;

/* How far a task that has begun may run ahead of its share. Milliseconds of its own run time. */
SC_LIVE u32 lead_ms = 250;

/* The most that a long task is favoured over a typical one. */
SC_LIVE u32 favour_max = 16;

/* Virtual time that a task may save up by sleeping. Microseconds. */
SC_LIVE u32 sleep_credit_us = 20000;

/* A task that waits longer is overdue. Milliseconds. */
SC_LIVE u32 max_wait_ms = 1000;

/* Whether the means of earlier tasks of the same command count. */
SC_LIVE bool learn = true;

/* What the loader asks of the kernel, where the kernel has it. */
const volatile u32 wanted_flags =
	WANT_ENQ_MIGRATION_DISABLED | WANT_HAS_CGROUP_WEIGHT | WANT_ALLOW_QUEUED_WAKEUP;

enum {
	QUEUE,
	OVERDUE,
	NR_QUEUES,
	OVERDUE_TURNS = 2, /* one choice in so many is of the overdue */
	MAX_SWEEP = 512,   /* tasks of a queue looked at at a time */
	FAVOUR_ONE = 16,   /* favours are in sixteenths */
	BRIEF_NS = 2000000,
	NUDGE_NS = 1000000,
	PATIENCE_NS = 250000000,
	TYPICAL_LEAST_NS = 1000000,
};

struct task_ctx {
	struct account account;
	struct hint_cache hint;
	u64 used_ns;  /* in its life, or since its name or hint changed */
	u64 ahead_ns; /* run, and not charged yet */
	u64 favour;   /* sixteenths */
	u64 owed_ns;  /* what it must still run before it is overdue no more */
	u64 overdue;  /* since when it has waited, while `owed_ns` */
	bool judged;  /* counted in `typical_ns` */
};

SC_TASK_STORAGE();

struct vtime_line line; /* not static, or the compiler splits it and its BTF does not fit */
static u64 typical_ns = TYPICAL_LEAST_NS; /* the median of what tasks are expected to use */

static u64 swept_at; /* when the queues were looked at for the overdue */
static u32 nr_sweeps, nr_choices;

static u64 slice_ns(void)
{
	return slice_us * 1000ULL;
}

/* Moves an estimate of the median a step towards a value. */
static void judge(u64 work_ns)
{
	u64 typical = typical_ns;

	typical = work_ns > typical ? typical + typical / 4 : typical - typical / 4;
	typical_ns = typical < TYPICAL_LEAST_NS ? TYPICAL_LEAST_NS : typical;
}

/* What the task still has to do, as far as anybody can tell. Nanoseconds. */
static u64 expected_ns(struct task_ctx *tctx)
{
	u64 work = tctx->hint.work_ns;

	return work > tctx->used_ns ? work - tctx->used_ns : tctx->used_ns;
}

/*
 * How much slower than a typical one's its virtual time moves: the square of how much longer it will
 * take, in sixteenths, within 1 and `favour_max`. One that sleeps soon again is no part of a batch:
 * it is served like the longest.
 */
static u64 favour_of(struct task_ctx *tctx)
{
	u64 ratio = expected_ns(tctx) * FAVOUR_ONE / (typical_ns ?: 1),
	    most = favour_max * FAVOUR_ONE;

	if (tctx->account.burst_ns && account_burst(&tctx->account, BRIEF_NS) < BRIEF_NS)
		return most;
	if (ratio <= FAVOUR_ONE)
		return FAVOUR_ONE;
	if (ratio >= most)
		return most;
	ratio = ratio * ratio / FAVOUR_ONE;
	return ratio < most ? ratio : most;
}

/*
 * Where it stands among those that wait: its virtual time and two nudges, smaller than any slice but
 * larger than what equals differ by. One is for a task that has begun, so that it ends before its
 * equals begin; a part of one for a favoured task, so that a long one goes before equals.
 */
static u64 key_of(struct task_ctx *tctx)
{
	u64 nudge = vtime_charge(NUDGE_NS, tctx->account.share);
	u64 begun = tctx->ahead_ns && tctx->ahead_ns <= lead_ms * 1000000ULL ? nudge : 0;

	return tctx->account.vtime - begun - (nudge - nudge * FAVOUR_ONE / tctx->favour);
}

/* A task was charged `ran` from where it stood: undone as far as it may run ahead, or is favoured. */
static void favour(struct task_ctx *tctx, u64 stood, u64 ran)
{
	struct account *account = &tctx->account;

	vtime_move(&line, stood, sc_now(), nr_cpus);
	tctx->used_ns += ran;
	tctx->ahead_ns += ran;
	tctx->owed_ns = tctx->owed_ns > ran ? tctx->owed_ns - ran : 0;
	tctx->favour = favour_of(tctx);
	if (tctx->ahead_ns <= lead_ms * 1000000ULL)
		account->vtime = stood;
	else
		account->vtime = stood + (account->vtime - stood) * FAVOUR_ONE / tctx->favour;
	/* Where all others are favoured the line is as much slower, and one turn's debt is paid for long. */
	account->vtime =
		vtime_min(account->vtime, line.now + PATIENCE_NS * nr_cpus / (favour_max ?: 1));
}

/* A task wants a CPU: it is counted; what it ran ahead is charged, what it saved is bounded. */
static void wake(struct task_struct *p, struct task_ctx *tctx)
{
	struct account *account = &tctx->account;
	u64 lead = lead_ms * 1000000ULL, ahead = tctx->ahead_ns < lead ? tctx->ahead_ns : lead;
	u64 front = line.now, head;

	if (account_wake(p, account, INTENT_NORMAL)) {
		tctx->favour = favour_of(tctx);
		tctx->ahead_ns = tctx->owed_ns = 0;
		account->vtime += vtime_charge(ahead, account->share) * FAVOUR_ONE / tctx->favour;
		/* The line runs ahead of the favoured: place it by who waits. */
		if (sc_first_vtime(queue_at(QUEUE, scx_bpf_task_cpu(p)), -1, &head))
			front = vtime_min(front, head + 2 * vtime_charge(NUDGE_NS, account->share));
		account_bound(account, front, true, sleep_credit_us * 1000ULL,
			      slice_ns() / (favour_max ?: 1));
	}
	if (!hints_refresh(p, &tctx->hint, learn) || !tctx->hint.work_ns)
		return;
	if (!tctx->judged)
		judge(tctx->hint.work_ns);
	tctx->judged = true;
	tctx->favour = favour_of(tctx);
}

/* Moves to the overdue whoever has waited in a queue for too long. */
static __noinline int sweep_queue(u32 place, u64 now, u64 iter_flags)
{
	struct bpf_iter_scx_dsq it;
	u32 i;

	if (!bpf_iter_scx_dsq_new(&it, queue_id(QUEUE, place), iter_flags)) {
		bpf_for(i, 0, MAX_SWEEP) {
			struct task_struct *p = bpf_iter_scx_dsq_next(&it);
			struct task_ctx *tctx = p ? task_ctx(p) : NULL;
			u64 since = tctx ? tctx->account.wait_since : 0;

			if (!p)
				break;
			if (!since || !vtime_before(since + max_wait_ms * 1000000ULL, now))
				continue;
			tctx->overdue = since;
			tctx->owed_ns = slice_ns() / 2;
			sc_move_vtime(&it, p, queue_id(OVERDUE, place), since);
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return 0;
}

/* Eight times in `max_wait_ms` one CPU looks at all that waits; a long queue is seen from both ends. */
static __noinline int sweep(u64 now)
{
	u64 last = swept_at;
	u32 place;

	if (now - last < max_wait_ms * 125000ULL ||
	    !__sync_bool_compare_and_swap(&swept_at, last, now))
		return 0;
	bpf_for(place, 0, nr_places())
		sweep_queue(place, now, nr_sweeps & 1 ? SC_DSQ_ITER_REV : 0);
	nr_sweeps++;
	return 0;
}

/* ------------------------------------------------------------------ ops */

s32 SC_OP(longest_first_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);

	if (idle && tctx) {
		wake(p, tctx);
		tctx->account.vtime = vtime_min(tctx->account.vtime, line.now);
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(), 0);
	}
	return cpu;
}

void SC_OP(longest_first_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx) {
		sc_error("no context for %s[%d]", p->comm, p->pid);
		return;
	}
	wake(p, tctx);
	if (is_percpu_kthread(p) && enq_flags & SC_ENQ_WAKEUP) {
		sc_insert(p, SC_DSQ_LOCAL, slice_ns(), enq_flags | SC_ENQ_PREEMPT);
		return;
	}
	/* One that was preempted before it had its due does not wait all over again. */
	if (tctx->owed_ns)
		queues_put(p, OVERDUE, slice_ns(), tctx->overdue, enq_flags);
	else
		queues_put(p, QUEUE, slice_ns(), key_of(tctx), enq_flags);
	queues_wake(p);
}

/* The task that ran goes on unless another one stands further back. */
void SC_OP(longest_first_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_ctx *tctx = prev && prev->scx.flags & SC_TASK_QUEUED ? task_ctx(prev) : NULL;
	u64 first = 0, stood, ran;

	sweep(sc_now());
	if (queues_waiting(OVERDUE) && !(nr_choices++ % OVERDUE_TURNS) &&
	    queues_take(OVERDUE, cpu, 0))
		return;
	if (tctx) {
		stood = tctx->account.vtime;
		ran = account_charge(prev, &tctx->account, sc_now(), 1, false);
		favour(tctx, stood, ran);
		wake(prev, tctx);
		if (queues_next(QUEUE, cpu, 0, &first) < 0 || !vtime_before(first, key_of(tctx))) {
			sc_set_slice(prev, slice_ns());
			return;
		}
	}
	if (!queues_take(QUEUE, cpu, 0))
		queues_take(OVERDUE, cpu, 0);
}

void SC_OP(longest_first_stopping, struct task_struct *p, bool runnable)
{
	struct task_ctx *tctx = task_ctx(p);
	u64 stood, ran;

	if (!tctx)
		return;
	stood = tctx->account.vtime;
	ran = account_stop(p, &tctx->account, sc_now(), 1, runnable, false);
	favour(tctx, stood, ran);
}

s32 SC_OP_SLEEPABLE(longest_first_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *tctx = task_ctx_new(p);

	if (!tctx)
		return -ENOMEM;
	account_init(&tctx->account, args, line.now);
	tctx->favour = FAVOUR_ONE;
	return 0;
}

/* What it used in its life teaches what its kind uses. */
void SC_OP(longest_first_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx)
		return;
	account_recount(&tctx->account, 0);
	if (args->cancelled || tctx->used_ns < HINTS_LEAST_NS)
		return;
	if (!tctx->judged)
		judge(tctx->used_ns);
	tctx->hint.comm = hint_comm_of(p);
	hints_learn(&tctx->hint, tctx->used_ns);
}

SC_ACCOUNT_OPS(longest_first);

s32 SC_OP_SLEEPABLE(longest_first_init)
{
	return topology_init() ?: queues_init(NR_QUEUES);
}

SEC(".struct_ops.link")
struct sched_ext_ops longest_first_ops = {
	.select_cpu = (void *)longest_first_select_cpu,
	.enqueue = (void *)longest_first_enqueue,
	.dispatch = (void *)longest_first_dispatch,
	.stopping = (void *)longest_first_stopping,
	.init_task = (void *)longest_first_init_task,
	.exit_task = (void *)longest_first_exit_task,
	.init = (void *)longest_first_init,
	SC_ACCOUNT_OPS_FIELDS(longest_first),
	.timeout_ms = 20000,
	.name = "schedcp_longest_first",
};
