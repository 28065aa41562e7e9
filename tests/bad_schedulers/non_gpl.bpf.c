/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A correct FIFO under a licence that sched_ext does not take.
 *
 * class: 6, licence
 * caught-by: source
 * reason: source.licence
 * as-object: object
 * as-object-reason: object.licence
 */
#include "corpus.h"

LICENCE("Proprietary");

void OPS(non_gpl_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops non_gpl_ops = {
	.enqueue = (void *)non_gpl_enqueue,
	.name = "non_gpl",
};
