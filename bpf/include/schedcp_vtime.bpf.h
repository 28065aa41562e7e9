/* SPDX-License-Identifier: GPL-2.0-only */
/* Arithmetic of virtual time, which wraps: compare with these, never with < and >. */
#ifndef SCHEDCP_VTIME_BPF_H
#define SCHEDCP_VTIME_BPF_H

/* A share of the machine in fixed point: SHARE_ONE is all of it, SHARE_MIN the least reckoned. */
#define SHARE_ONE (1ULL << 20)
#define SHARE_MIN (1ULL << 4)

#define VTIME_FAR (1ULL << 62) /* added to a time: after every other one */

static inline bool vtime_before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

static inline u64 vtime_min(u64 a, u64 b)
{
	return vtime_before(a, b) ? a : b;
}

static inline u64 vtime_max(u64 a, u64 b)
{
	return vtime_before(a, b) ? b : a;
}

/*
 * Where the tasks of one time line stand. Moved on by those that are chosen, who are mostly the furthest
 * back; but one may be far ahead and chosen since no other may run there, or since a CPU was idle.
 * Who wakes up is placed by the line and would wait for all of that. So the line is never moved
 * much faster than `cpus` busy CPUs move it. What it was not moved in a while it may be moved later: it
 * must not fall behind those who are served, for debts are bounded by it, the heaviest task's first.
 */
struct vtime_line {
	u64 now;
	u64 moved_at; /* nanoseconds: it may be moved for the time since then */
};

#define VTIME_PAUSE_NS 200000000ULL /* the longest time in which it was not moved that counts */
#define VTIME_CATCH_UP 8	    /* faster by an eighth: shares waver, and so do all charges */

static inline void vtime_move(struct vtime_line *line, u64 vtime, u64 now_ns, u32 cpus)
{
	u64 since = line->moved_at, before = line->now, ahead = vtime - before, most;

	if ((s64)ahead <= 0 || (s64)(now_ns - since) <= 0)
		return;
	if (now_ns - since > VTIME_PAUSE_NS)
		since = now_ns - VTIME_PAUSE_NS;
	most = (now_ns - since) * cpus;
	most += most / VTIME_CATCH_UP;
	if (ahead >= most) {
		ahead = most;
		since = now_ns;
	} else {
		since += ahead / (cpus ?: 1);
	}
	line->moved_at = since;
	line->now = before + ahead;
}

/* How far virtual time moves for `ns` on a CPU: one for one for who owns the whole machine. */
static inline u64 vtime_charge(u64 ns, u64 share)
{
	return ns * SHARE_ONE / (share < SHARE_MIN ? SHARE_MIN : share);
}

/* A quarter of the way from an average to a new value. */
static inline u64 average(u64 old, u64 now)
{
	return old - old / 4 + now / 4;
}

#endif
