/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fills a queue that was never made.
 *
 * class: 9, queue that does not exist
 * caught-by: source
 * reason: source.queue-not-created
 * as-object: behaviour
 * as-object-reason: behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(bogus_dsq_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, 0xdead, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops bogus_dsq_ops = {
	.enqueue = (void *)bogus_dsq_enqueue,
	.name = "bogus_dsq",
};
