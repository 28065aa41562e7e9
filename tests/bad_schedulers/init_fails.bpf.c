/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Its init fails; the attach still gives a link.
 *
 * class: 8, init fails
 * caught-by: source
 * reason: source.init-fails
 * as-object: behaviour
 * as-object-reason: behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(init_fails_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

s32 OPS_SLEEPABLE(init_fails_init)
{
	return -12;
}

SEC(".struct_ops.link")
struct sched_ext_ops init_fails_ops = {
	.enqueue = (void *)init_fails_enqueue,
	.init = (void *)init_fails_init,
	.name = "init_fails",
};
