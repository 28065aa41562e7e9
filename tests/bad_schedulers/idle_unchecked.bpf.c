/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Takes an idle CPU without asking whether there was one.
 *
 * class: 12, CPU number not checked
 * caught-by: source
 * reason: source.cpu-unchecked
 * as-object: behaviour
 * as-object-reason: behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

s32 OPS(idle_unchecked_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
}

void OPS(idle_unchecked_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops idle_unchecked_ops = {
	.select_cpu = (void *)idle_unchecked_select_cpu,
	.enqueue = (void *)idle_unchecked_enqueue,
	.name = "idle_unchecked",
};
