/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cpu.max: how much CPU time a cgroup and all below it may use in a period, as
 * Documentation/admin-guide/cgroup-v2.rst says; since 6.17 sched_ext tells a scheduler of it.
 *
 * A group's time is refilled at the start of each of its periods; what it overdrew, by a tick at most on
 * each CPU, it pays with the next ones. Who belongs to a group without time left is put aside, in one
 * queue by when its group may run again; a CPU that dispatches looks into it, and a timer wakes an idle one
 * for that. Nothing of it costs anything while no group has a limit.
 *
 * What loops here is not static, so that the kernel's verifier looks at it once and not at every call.
 *
 * Groups have the slots of `weights`. The time is bpf_ktime_get_ns(), the same on every CPU.
 */
#ifndef SCHEDCP_LIMITS_BPF_H
#define SCHEDCP_LIMITS_BPF_H

#include "schedcp_account.bpf.h"
#include "schedcp_idle.bpf.h"
#include "schedcp_queues.bpf.h"

#define LIMITS_NONE_US	 (1ULL << 40)  /* a quota from here on is no limit; the kernel says ~0 */
#define LIMITS_LONGEST	 5000000000ULL /* nobody is put aside for longer: the watchdog waits */
#define LIMITS_LOOK_NS	 4000000ULL    /* how often a timer looks for who may run again */
#define LIMITS_RELEASE	 64	       /* tasks that one dispatch lets go on */
#define LIMITS_KIND	 (ACCOUNT_KINDS - 1) /* of queue, beside those of the scheduler */
#define LIMITS_MONOTONIC 1		     /* CLOCK_MONOTONIC */

struct limit {
	struct bpf_spin_lock lock;
	u64 quota; /* nanoseconds in a period, 0: no limit */
	u64 period;
	u64 burst;
	u64 began; /* this period */
	s64 left;  /* of the quota */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIGHTS_MAX_GROUPS);
	__type(key, u32);
	__type(value, struct limit);
} limits SEC(".maps");

struct limits_timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct limits_timer);
} limits_timers SEC(".maps");

static u32 nr_limited; /* groups with a limit */

/* Whether limits have to be asked for at all. */
static inline bool limits_any(void)
{
	return *(volatile u32 *)&nr_limited;
}

/* Whether anybody was put aside. */
static inline bool limits_aside(void)
{
	return *(volatile u32 *)&nr_waiting[LIMITS_KIND];
}

/* Called by the timer: wakes an idle CPU, which looks whether somebody may go on. */
static int limits_look(void *map, int *key, struct limits_timer *entry)
{
	bool aside = limits_aside();
	s32 idle = aside ? idle_any() : -1;

	if (idle >= 0)
		scx_bpf_kick_cpu(idle, SC_KICK_IDLE);
	if (aside || limits_any())
		bpf_timer_start(&entry->timer, LIMITS_LOOK_NS, 0);
	return 0;
}

/* From ops.init(). 0, or -errno. */
static inline s32 limits_init(void)
{
	u32 zero = 0;
	struct limits_timer *entry = bpf_map_lookup_elem(&limits_timers, &zero);
	s32 err;

	if (!entry)
		return -ENOMEM;
	err = scx_bpf_create_dsq(queue_id(LIMITS_KIND, 0), -1);
	err = err ?: bpf_timer_init(&entry->timer, &limits_timers, LIMITS_MONOTONIC);
	return err ?: bpf_timer_set_callback(&entry->timer, limits_look);
}

/* From ops.cgroup_init() and ops.cgroup_set_bandwidth(), after weights_add(). Microseconds. */
__noinline int limits_set(u32 slot, u64 period_us, u64 quota_us, u64 burst_us)
{
	struct limit *limit = slot ? bpf_map_lookup_elem(&limits, &slot) : NULL;
	u32 zero = 0;
	struct limits_timer *entry = bpf_map_lookup_elem(&limits_timers, &zero);
	u64 was, quota = quota_us < LIMITS_NONE_US ? quota_us * 1000 : 0, now = bpf_ktime_get_ns();

	if (!limit || !entry)
		return 0;
	bpf_spin_lock(&limit->lock);
	was = limit->quota;
	limit->quota = quota;
	limit->period = period_us * 1000 ?: 1;
	limit->burst = burst_us < LIMITS_NONE_US ? burst_us * 1000 : 0;
	limit->began = now;
	limit->left = quota;
	bpf_spin_unlock(&limit->lock);
	if (quota && !was && !__sync_fetch_and_add(&nr_limited, 1))
		bpf_timer_start(&entry->timer, LIMITS_LOOK_NS, 0);
	else if (!quota && was)
		__sync_fetch_and_add(&nr_limited, -1);
	return 0;
}

/* Time that passed fills the account, to one quota and the burst at most. The lock is held. */
static __always_inline void limits_refill(struct limit *limit, u64 now)
{
	u64 passed = now - limit->began, periods, most = limit->quota + limit->burst;

	if ((s64)passed < 0 || passed < limit->period || !limit->period)
		return;
	periods = passed / limit->period;
	limit->began += periods * limit->period;
	if (periods > 1000)
		periods = 1000;
	limit->left += periods * limit->quota;
	if (limit->left > (s64)most)
		limit->left = most;
}

/*
 * A task of the group ran for `ran` until `now`: that is taken from the group and all above it. 0: its
 * tasks may go on, else when they may. With 0 for `ran` it only asks.
 */
__noinline u64 limits_charge(u32 slot, u64 ran, u64 now)
{
	u64 until = 0, mine;
	u32 i;

	bpf_for(i, 0, WEIGHTS_MAX_DEPTH) {
		struct limit *limit = slot ? bpf_map_lookup_elem(&limits, &slot) : NULL;
		struct weights_group *group = weights_group(slot);

		if (!limit || !group)
			break;
		slot = group->parent;
		if (!limit->quota)
			continue;
		mine = 0;
		bpf_spin_lock(&limit->lock);
		limits_refill(limit, now);
		limit->left -= ran;
		if (limit->left <= 0 && limit->quota)
			mine = limit->began + (-limit->left / limit->quota + 1) * limit->period;
		if (mine && mine - now > LIMITS_LONGEST) { /* more than it is made to pay */
			limit->left += ran;
			mine = now + LIMITS_LONGEST;
		}
		bpf_spin_unlock(&limit->lock);
		if (mine > until)
			until = mine;
	}
	return until;
}

/* When the task may run: 0 is now. One that exits is let go, others may wait for what it holds. */
static inline u64 limits_until(struct task_struct *p, struct account *account)
{
	if (!limits_any() || p->flags & PF_EXITING)
		return 0;
	return limits_charge(account->group, 0, bpf_ktime_get_ns());
}

/* A task ran for `ran`. True: its group has no time left. */
static inline bool limits_ran(struct account *account, u64 ran)
{
	return limits_any() && limits_charge(account->group, ran, bpf_ktime_get_ns());
}

/* From ops.enqueue(): the task is put aside. */
static inline void limits_put(struct task_struct *p, struct account *account, u64 slice, u64 until,
			      u64 enq_flags)
{
	account_waits(account, LIMITS_KIND);
	sc_insert_vtime(p, queue_id(LIMITS_KIND, 0), slice, until, enq_flags);
}

/* SC_ACCOUNT_OPS tells of groups that come and go; and one op more, for SC_ACCOUNT_OPS_FIELDS's side. */
#undef ACCOUNT_GROUP_ADDED
#undef ACCOUNT_GROUP_GONE
#define ACCOUNT_GROUP_ADDED(slot, args)                                             \
	do {                                                                        \
		if (bpf_core_field_exists((args)->bw_quota_us))                     \
			limits_set(slot, (args)->bw_period_us, (args)->bw_quota_us, \
				   (args)->bw_burst_us);                            \
	} while (0)
#define ACCOUNT_GROUP_GONE(slot) limits_set(slot, 1, LIMITS_NONE_US, 0)

#define SC_LIMITS_OPS(name)                                                                       \
	void SC_OP(name##_cgroup_set_bandwidth, struct cgroup *cgrp, u64 period_us, u64 quota_us, \
		   u64 burst_us)                                                                  \
	{                                                                                         \
		limits_set(weights_slot(cgrp), period_us, quota_us, burst_us);                    \
	}

#endif
