/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * First in, first out, with a timer that wakes an idle CPU when something waits.
 *
 * class: good
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
	if (scx_bpf_dsq_nr_queued(QUEUE) > 0)
		scx_bpf_kick_cpu(bpf_get_smp_processor_id(), SCX_KICK_IDLE);
	bpf_timer_start(&p->timer, 10000000, 0);
	return 0;
}

void OPS(with_heartbeat_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, QUEUE, SCX_SLICE_DFL, enq_flags);
}

void OPS(with_heartbeat_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_dsq_move_to_local(QUEUE);
}

s32 OPS_SLEEPABLE(with_heartbeat_init)
{
	s32 err = scx_bpf_create_dsq(QUEUE, -1);
	u32 zero = 0;
	struct pulse *p = bpf_map_lookup_elem(&pulse, &zero);

	if (err || !p)
		return err ? err : -22;
	if (bpf_timer_init(&p->timer, &pulse, 1) || bpf_timer_set_callback(&p->timer, beat))
		return -22;
	return bpf_timer_start(&p->timer, 10000000, 0);
}

SEC(".struct_ops.link")
struct sched_ext_ops with_heartbeat_ops = {
	.enqueue = (void *)with_heartbeat_enqueue,
	.dispatch = (void *)with_heartbeat_dispatch,
	.init = (void *)with_heartbeat_init,
	.name = "with_heartbeat",
};
