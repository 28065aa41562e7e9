/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every scheduler keeps of a task: whose it is, what it is due, what it got.
 *
 * A scheduler's own struct task_ctx begins with a struct account. Its ops call account_*() at the
 * same-named moments; SC_TASK_STORAGE and SC_ACCOUNT_OPS give it the rest.
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

#define ACCOUNT_SHARE_NS 1000000 /* a share is worked out anew after as long */

struct account {
	struct intent_cache intent;
	u64 group;	/* cgroup with the cpu controller */
	u64 vtime;	/* where it stands */
	u64 share;	/* of the machine, as of share_at */
	u64 share_at;
	u64 run_at;	/* charged until then */
	u64 wait_since; /* wants a CPU since then */
	u32 counted;	/* weight with which its group counts it, 0: not runnable */
};

static inline u32 account_class(struct account *account)
{
	return account->intent.class < INTENT_NR_CLASSES ? account->intent.class : INTENT_NORMAL;
}

/* From ops.runnable(). */
static inline void account_runnable(struct task_struct *p, struct account *account, u64 now)
{
	weights_count(account->group, account->counted, p->scx.weight);
	account->counted = p->scx.weight;
	account->wait_since = now;
}

/* From ops.running(). */
static inline void account_running(struct account *account, u64 now)
{
	u64 since = account->wait_since;

	account->run_at = now;
	stats_run(account_class(account), account->intent.owner,
		  vtime_before(since, now) ? now - since : 0);
}

/*
 * Charges a running task until now: statistics and virtual time, the latter `favour` times slower.
 * Returns the nanoseconds it ran since it was charged last.
 */
static inline u64 account_charge(struct task_struct *p, struct account *account, u64 now,
				 u64 favour, bool preempted)
{
	u64 ran = vtime_before(account->run_at, now) ? now - account->run_at : 0;

	account->run_at = now;
	if (ran > ACCOUNT_SHARE_NS || now - account->share_at > ACCOUNT_SHARE_NS) {
		account->share = weights_share(account->group, p->scx.weight);
		account->share_at = now;
	}
	account->vtime += vtime_charge(ran, account->share) / (favour ?: 1);
	stats_stop(account_class(account), account->intent.owner, ran, preempted);
	return ran;
}

/* From ops.stopping(): the last charge of a run; the task waits from here on. */
static inline u64 account_stopping(struct task_struct *p, struct account *account, u64 favour,
				   bool runnable)
{
	u64 now = sc_now();

	account->wait_since = now;
	return account_charge(p, account, now, favour, runnable && p->scx.slice);
}

/* Is not runnable any more, or changes its weight while it is. */
static inline void account_recount(struct account *account, u32 weight)
{
	weights_count(account->group, account->counted, weight);
	account->counted = weight;
}

static inline void account_move(struct account *account, struct cgroup *to)
{
	u32 counted = account->counted;

	account_recount(account, 0);
	account->group = sc_cgroup_id(to);
	account_recount(account, counted);
}

static inline void account_init(struct account *account, struct scx_init_task_args *args, u64 vtime)
{
	account->intent.class = INTENT_NORMAL;
	account->share = SHARE_ONE;
	account->vtime = vtime;
	if (bpf_core_field_exists(args->cgroup))
		account->group = sc_cgroup_id(args->cgroup);
}

/* The storage of the scheduler's struct task_ctx, and task_ctx(p), which is NULL for a strange task. */
#define SC_TASK_STORAGE()                                           \
	struct {                                                    \
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);            \
		__uint(map_flags, BPF_F_NO_PREALLOC);               \
		__type(key, int);                                   \
		__type(value, struct task_ctx);                     \
	} task_ctxs SEC(".maps");                                   \
	static inline struct task_ctx *task_ctx(struct task_struct *p) \
	{                                                           \
		return bpf_task_storage_get(&task_ctxs, p, 0, 0);   \
	}                                                           \
	static inline struct task_ctx *task_ctx_new(struct task_struct *p) \
	{                                                           \
		return bpf_task_storage_get(&task_ctxs, p, 0, BPF_LOCAL_STORAGE_GET_F_CREATE); \
	}

/* The ops that are alike everywhere: weights of tasks and cgroups, CPUs that come and go, the exit. */
#define SC_ACCOUNT_OPS(name)                                                                     \
	void SC_OP(name##_quiescent, struct task_struct *p, u64 deq_flags)                       \
	{                                                                                        \
		struct task_ctx *tctx = task_ctx(p);                                             \
                                                                                                 \
		if (tctx)                                                                        \
			account_recount(&tctx->account, 0);                                      \
	}                                                                                        \
	void SC_OP(name##_set_weight, struct task_struct *p, u32 weight)                         \
	{                                                                                        \
		struct task_ctx *tctx = task_ctx(p);                                             \
                                                                                                 \
		if (tctx && tctx->account.counted)                                               \
			account_recount(&tctx->account, weight);                                 \
	}                                                                                        \
	s32 SC_OP_SLEEPABLE(name##_cgroup_init, struct cgroup *cgrp,                             \
			    struct scx_cgroup_init_args *args)                                   \
	{                                                                                        \
		return weights_add(cgrp, args->weight);                                          \
	}                                                                                        \
	void SC_OP_SLEEPABLE(name##_cgroup_exit, struct cgroup *cgrp)                            \
	{                                                                                        \
		weights_remove(cgrp);                                                            \
	}                                                                                        \
	void SC_OP(name##_cgroup_move, struct task_struct *p, struct cgroup *from,               \
		   struct cgroup *to)                                                            \
	{                                                                                        \
		struct task_ctx *tctx = task_ctx(p);                                             \
                                                                                                 \
		if (tctx)                                                                        \
			account_move(&tctx->account, to);                                        \
	}                                                                                        \
	void SC_OP(name##_cgroup_set_weight, struct cgroup *cgrp, u32 weight)                    \
	{                                                                                        \
		weights_set(cgrp, weight);                                                       \
	}                                                                                        \
	void SC_OP(name##_cpu_online, s32 cpu)                                                   \
	{                                                                                        \
		topology_place(cpu);                                                             \
	}                                                                                        \
	void SC_OP(name##_cpu_offline, s32 cpu)                                                  \
	{                                                                                        \
	}                                                                                        \
	void SC_OP_SLEEPABLE(name##_exit, struct scx_exit_info *ei)                              \
	{                                                                                        \
		exit_record_fill(ei);                                                            \
	}

/* The op of a scheduler that has nothing else to do when a task ends. */
#define SC_ACCOUNT_EXIT_TASK(name) \
	void SC_OP(name##_exit_task, struct task_struct *p, struct scx_exit_task_args *args) \
	{ \
		struct task_ctx *tctx = task_ctx(p); \
 \
		if (tctx) \
			account_recount(&tctx->account, 0); \
	}

#define SC_ACCOUNT_OPS_FIELDS(sched)                           \
	.quiescent = (void *)sched##_quiescent,                \
	.set_weight = (void *)sched##_set_weight,              \
	.exit_task = (void *)sched##_exit_task,                \
	.cgroup_init = (void *)sched##_cgroup_init,            \
	.cgroup_exit = (void *)sched##_cgroup_exit,            \
	.cgroup_move = (void *)sched##_cgroup_move,            \
	.cgroup_set_weight = (void *)sched##_cgroup_set_weight, \
	.cpu_online = (void *)sched##_cpu_online,              \
	.cpu_offline = (void *)sched##_cpu_offline,            \
	.exit = (void *)sched##_exit

#endif
