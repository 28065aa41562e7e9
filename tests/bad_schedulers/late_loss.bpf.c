/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Serves everybody for four seconds of load, then loses one task in four.
 *
 * class: 14, lost task after a delay
 * caught-by: behaviour
 * reason: behaviour.starved or behaviour.ejected
 */
#include "corpus.h"

LICENCE("GPL");

u64 began;

void OPS(late_loss_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 now = bpf_ktime_get_ns();

	if (!began)
		began = now;
	if (now - began > 4000000000ULL && p->mm && p->pid % 4 == 1)
		return;
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops late_loss_ops = {
	.enqueue = (void *)late_loss_enqueue,
	.name = "late_loss",
};
