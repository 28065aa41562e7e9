/* SPDX-License-Identifier: GPL-2.0-only */
/* Arithmetic of virtual time, which wraps: compare with these, never with < and >. */
#ifndef SCHEDCP_VTIME_BPF_H
#define SCHEDCP_VTIME_BPF_H

/* A share of the machine in fixed point: SHARE_ONE is all of it, SHARE_MIN the least reckoned. */
#define SHARE_ONE (1ULL << 20)
#define SHARE_MIN (1ULL << 4)

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

/* How far virtual time moves for `ns` on a CPU: one for one for who owns the whole machine. */
static inline u64 vtime_charge(u64 ns, u64 share)
{
	return ns * SHARE_ONE / (share < SHARE_MIN ? SHARE_MIN : share);
}

#endif
