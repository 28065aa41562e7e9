/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every scheduler keeps of a task: whose it is, what it is due, what it got.
 *
 * A scheduler's own struct task_ctx begins with a struct account. Its ops call account_wake() when a
 * task wants a CPU, account_charge() and account_stop(); SC_TASK_STORAGE and SC_ACCOUNT_OPS give it
 * the rest. ops.runnable() and ops.quiescent() are not used: two calls fewer at every wake-up.
 */
#ifndef SCHEDCP_ACCOUNT_BPF_H
#define SCHEDCP_ACCOUNT_BPF_H

#include "schedcp_compat.bpf.h"
#include "schedcp_exit.bpf.h"
#include "schedcp_intents.bpf.h"
#include "schedcp_stats.bpf.h"
#include "schedcp_topology.bpf.h"
#include "schedcp_vtime.bpf.h"
#include "schedcp_weights.bpf.h"

#define ACCOUNT_SHARE_NS 1000000       /* a share is looked at again after as long */
#define ACCOUNT_STALE_NS 100000000     /* after as long, what was seen before counts no more */
#define ACCOUNT_DEBT_NS	 1000000000ULL /* the longest that a task is made to wait for its debt */

struct account {
	struct intent_cache intent;
	u64 vtime; /* where it stands */
	u64 share; /* of the machine, the average of what was seen until share_at */
	u64 share_at;
	u64 charged;	/* of its run time, as the kernel counts it */
	u64 wait_since; /* wants a CPU since then, 0: has one */
	u64 awake_ns;	/* run time since it last slept */
	u64 burst_ns;	/* usual run time between two sleeps */
	u32 group;	/* slot in `weights` of its cgroup with the cpu controller */
	u32 counted;	/* weight with which its group counts it, 0: not runnable */
	u32 waits_in;	/* kind of queue in which it is counted, and one; 0: none */
};

/*
 * Looking into a queue means finding it by its number, which costs as much as a good part of a switch.
 * So a scheduler with many kinds of queues counts who waits. Never fewer than there are: a task is
 * counted before it is queued, and no more after it has left. Now and then more, for a moment.
 */
#define ACCOUNT_KINDS 8 /* at most; a power of two for SC_INDEX */

static u32 nr_waiting[ACCOUNT_KINDS];

static inline void waiting_add(u32 kind, s32 tasks)
{
	__sync_fetch_and_add(&nr_waiting[SC_INDEX(kind, ACCOUNT_KINDS)], tasks);
}

/* Before the task is queued, or after it was moved to another queue for which waiting_add() was called. */
static inline void account_waits_in(struct account *account, u32 in)
{
	u32 was = __sync_lock_test_and_set(&account->waits_in, in);

	if (was)
		waiting_add(was - 1, -1);
}

/* From ops.enqueue(), before the task goes into a queue of this kind. */
static inline void account_waits(struct account *account, u32 kind)
{
	waiting_add(kind, 1);
	account_waits_in(account, kind + 1);
}

/* From ops.running(). */
static inline void account_waits_no_more(struct account *account)
{
	if (account->waits_in)
		account_waits_in(account, 0);
}

/* The kinds of which somebody waits, a mask. Not static: the verifier is to see a number, not eight branches. */
__noinline u32 account_waiting(u32 kinds)
{
	u32 kind, mask = 0;

	for (kind = 0; kind < ACCOUNT_KINDS; kind++)
		mask |= *(volatile u32 *)&nr_waiting[kind] ? 1U << kind : 0;
	return mask & ((1U << kinds) - 1);
}

static inline u32 account_class(struct account *account)
{
	return account->intent.class < INTENT_NR_CLASSES ? account->intent.class : INTENT_NORMAL;
}

/*
 * From ops.select_cpu() and ops.enqueue(). True: the task did not want a CPU until now. `fallback` is its
 * class if no cgroup has an intent.
 */
static inline bool account_wake(struct task_struct *p, struct account *account, u32 fallback)
{
	intents_refresh(p, &account->intent, fallback);
	if (account->counted)
		return false;
	account->counted = p->scx.weight ?: 1;
	weights_count(account->group, 0, account->counted);
	account->wait_since = sc_now();
	account->charged = p->se.sum_exec_runtime;
	account->awake_ns = 0;
	return true;
}

/*
 * Looks at the share it is due now. Averaged: where many wake for an instant only, one look sees any
 * number of them, and a long run would be charged by that.
 */
static inline void account_look(struct task_struct *p, struct account *account, u64 now)
{
	u64 share = weights_share(account->group, p->scx.weight);

	if (now - account->share_at < ACCOUNT_STALE_NS)
		share = average(account->share, share);
	account->share = share;
	account->share_at = now;
}

/*
 * From ops.dispatch() and ops.stopping(): charges what a task ran since it was charged last, to the
 * statistics and to its virtual time, to the latter `favour` times less. Returns the nanoseconds.
 *
 * The kernel's own count of them is taken, so ops.running() need not note when a run began.
 */
static inline u64 account_charge(struct task_struct *p, struct account *account, u64 now,
				 u64 favour, bool preempted)
{
	u64 total = p->se.sum_exec_runtime, ran = total - account->charged;
	u64 since = account->wait_since, began = now - ran;

	account->charged = total;
	account->awake_ns += ran;
	account->wait_since = 0;
	if (now - account->share_at > ACCOUNT_SHARE_NS)
		account_look(p, account, now);
	account->vtime += vtime_charge(ran, account->share) / (favour ?: 1);
	stats_ran(account_class(account), account->intent.owner, since,
		  vtime_before(since, began) ? began - since : 0, ran, preempted);
	return ran;
}

/*
 * Where a task stands that is to run or to wait: at most `credit_ns` of its own time before the others
 * when it just woke, and never further behind than four slices of its own or one second of the machine.
 * So a share that was small for an instant is not paid for long.
 */
static inline void account_bound(struct account *account, u64 vtime_now, bool woke, u64 credit_ns,
				 u64 slice_ns)
{
	u64 debt = 4 * vtime_charge(slice_ns, account->share);
	u64 most = ACCOUNT_DEBT_NS * nr_cpus;

	account->vtime = vtime_min(account->vtime, vtime_now + (debt < most ? debt : most));
	if (woke)
		account->vtime = vtime_max(account->vtime,
					   vtime_now - vtime_charge(credit_ns, account->share));
}

/* What it usually runs before it sleeps; one that has run longer is taken for what it shows. */
static inline u64 account_burst(struct account *account, u64 most)
{
	u64 burst = account->burst_ns > account->awake_ns ? account->burst_ns : account->awake_ns;

	return burst < most ? burst : most;
}

/*
 * When it is due: where it stands, and what it is going to run. Who owns little and runs long is due
 * far away; never further than the longest debt, from where on it is first come, first served.
 */
static inline u64 account_deadline(struct account *account, u64 vtime_now, u64 most)
{
	u64 due = account->vtime + vtime_charge(account_burst(account, most), account->share);

	return vtime_min(due, vtime_now + ACCOUNT_DEBT_NS * nr_cpus);
}

/* Counts with another weight from now on; 0: it does not want a CPU. */
static inline void account_recount(struct account *account, u32 weight)
{
	weights_count(account->group, account->counted, weight);
	account->counted = weight;
}

/*
 * From ops.stopping(): the last charge of a run; the task waits from here on, or sleeps. `kicked`: somebody
 * asked its CPU to give way.
 */
static inline u64 account_stop(struct task_struct *p, struct account *account, u64 now, u64 favour,
			       bool runnable, bool kicked)
{
	u64 ran;

	account_waits_no_more(account);
	ran = account_charge(p, account, now, favour, runnable && (kicked || p->scx.slice));
	account->wait_since = now;
	if (!runnable) {
		account->burst_ns = average(account->burst_ns, account->awake_ns);
		account_recount(account, 0);
	}
	return ran;
}

static inline void account_move(struct account *account, struct cgroup *to)
{
	u32 counted = account->counted;

	account_recount(account, 0);
	account->group = weights_slot(to);
	account_recount(account, counted);
}

static inline void account_init(struct account *account, struct scx_init_task_args *args, u64 vtime)
{
	account->intent.class = INTENT_NORMAL;
	account->share = SHARE_ONE;
	account->vtime = vtime;
	if (bpf_core_field_exists(args->cgroup))
		account->group = weights_slot(args->cgroup);
}

/* The storage of the scheduler's struct task_ctx, and task_ctx(p), which is NULL for a strange task. */
#define SC_TASK_STORAGE()                                                                      \
	struct {                                                                               \
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);                                       \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                          \
		__type(key, int);                                                              \
		__type(value, struct task_ctx);                                                \
	} task_ctxs SEC(".maps");                                                              \
	static inline struct task_ctx *task_ctx(struct task_struct *p)                         \
	{                                                                                      \
		return bpf_task_storage_get(&task_ctxs, p, 0, 0);                              \
	}                                                                                      \
	static inline struct task_ctx *task_ctx_new(struct task_struct *p)                     \
	{                                                                                      \
		return bpf_task_storage_get(&task_ctxs, p, 0, BPF_LOCAL_STORAGE_GET_F_CREATE); \
	}

/* What else is to be done for a group, see schedcp_limits.bpf.h. */
#define ACCOUNT_GROUP_ADDED(slot, args)
#define ACCOUNT_GROUP_GONE(slot)

/* The ops that are alike everywhere: weights of tasks and cgroups, CPUs that come and go, the exit. */
#define SC_ACCOUNT_OPS(name)                                                             \
	/* Left for another scheduling class, or gone. */                                \
	void SC_OP(name##_disable, struct task_struct *p)                                \
	{                                                                                \
		struct task_ctx *tctx = task_ctx(p);                                     \
                                                                                         \
		if (tctx) {                                                              \
			account_recount(&tctx->account, 0);                              \
			account_waits_no_more(&tctx->account);                           \
		}                                                                        \
	}                                                                                \
	void SC_OP(name##_set_weight, struct task_struct *p, u32 weight)                 \
	{                                                                                \
		struct task_ctx *tctx = task_ctx(p);                                     \
                                                                                         \
		if (tctx && tctx->account.counted)                                       \
			account_recount(&tctx->account, weight);                         \
	}                                                                                \
	s32 SC_OP_SLEEPABLE(name##_cgroup_init, struct cgroup *cgrp,                     \
			    struct scx_cgroup_init_args *args)                           \
	{                                                                                \
		s32 err = weights_add(cgrp, args->weight);                               \
                                                                                         \
		if (!err && bpf_core_field_exists(args->sched_idle) && args->sched_idle) \
			weights_set_idle(cgrp, true);                                    \
		ACCOUNT_GROUP_ADDED(weights_slot(cgrp), args);                           \
		return err;                                                              \
	}                                                                                \
	void SC_OP_SLEEPABLE(name##_cgroup_exit, struct cgroup *cgrp)                    \
	{                                                                                \
		ACCOUNT_GROUP_GONE(weights_slot(cgrp));                                  \
		weights_remove(cgrp);                                                    \
	}                                                                                \
	void SC_OP(name##_cgroup_move, struct task_struct *p, struct cgroup *from,       \
		   struct cgroup *to)                                                    \
	{                                                                                \
		struct task_ctx *tctx = task_ctx(p);                                     \
                                                                                         \
		if (tctx)                                                                \
			account_move(&tctx->account, to);                                \
	}                                                                                \
	void SC_OP(name##_cgroup_set_weight, struct cgroup *cgrp, u32 weight)            \
	{                                                                                \
		weights_set(cgrp, weight);                                               \
	}                                                                                \
	void SC_OP(name##_cgroup_set_idle, struct cgroup *cgrp, bool idle)               \
	{                                                                                \
		weights_set_idle(cgrp, idle);                                            \
	}                                                                                \
	void SC_OP(name##_cpu_online, s32 cpu)                                           \
	{                                                                                \
		topology_place(cpu);                                                     \
	}                                                                                \
	void SC_OP(name##_cpu_offline, s32 cpu)                                          \
	{                                                                                \
	}                                                                                \
	void SC_OP_SLEEPABLE(name##_exit, struct scx_exit_info *ei)                      \
	{                                                                                \
		exit_record_fill(ei);                                                    \
	}

#define SC_ACCOUNT_OPS_FIELDS(sched)                                                            \
	.disable = (void *)sched##_disable, .set_weight = (void *)sched##_set_weight,           \
	.cgroup_init = (void *)sched##_cgroup_init, .cgroup_exit = (void *)sched##_cgroup_exit, \
	.cgroup_move = (void *)sched##_cgroup_move,                                             \
	.cgroup_set_weight = (void *)sched##_cgroup_set_weight,                                 \
	.cgroup_set_idle = (void *)sched##_cgroup_set_idle,                                     \
	.cpu_online = (void *)sched##_cpu_online, .cpu_offline = (void *)sched##_cpu_offline,   \
	.exit = (void *)sched##_exit

#endif
