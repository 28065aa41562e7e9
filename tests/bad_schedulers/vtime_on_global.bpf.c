/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Orders the global queue by virtual time.
 *
 * class: 11, virtual time on a built-in queue
 * caught-by: source
 * reason: source.vtime-on-builtin
 * as-object: behaviour
 * as-object-reason: behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(vtime_on_global_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert_vtime(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, p->scx.dsq_vtime, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops vtime_on_global_ops = {
	.enqueue = (void *)vtime_on_global_enqueue,
	.name = "vtime_on_global",
};
