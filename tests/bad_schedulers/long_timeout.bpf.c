/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Wants the watchdog to wait for a minute.
 *
 * class: 6, timeout above the kernel's
 * caught-by: source
 * reason: source.ops-timeout
 * as-object: object
 * as-object-reason: object.ops-timeout
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(long_timeout_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops long_timeout_ops = {
	.enqueue = (void *)long_timeout_enqueue,
	.timeout_ms = 60000,
	.name = "long_timeout",
};
