/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A timer that comes every microsecond.
 *
 * class: 20, timer storm
 * caught-by: source
 * reason: source.timer-storm
 */
#include "corpus.h"

LICENCE("GPL");

struct pulse {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pulse);
} pulse SEC(".maps");

static int beat(void *map, int *key, struct pulse *p)
{
	bpf_timer_start(&p->timer, 1000, 0);
	return 0;
}

void OPS(timer_storm_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

s32 OPS_SLEEPABLE(timer_storm_init)
{
	u32 zero = 0;
	struct pulse *p = bpf_map_lookup_elem(&pulse, &zero);

	if (!p || bpf_timer_init(&p->timer, &pulse, 1) || bpf_timer_set_callback(&p->timer, beat))
		return -22;
	return bpf_timer_start(&p->timer, 1000, 0);
}

SEC(".struct_ops.link")
struct sched_ext_ops timer_storm_ops = {
	.enqueue = (void *)timer_storm_enqueue,
	.init = (void *)timer_storm_init,
	.name = "timer_storm",
};
