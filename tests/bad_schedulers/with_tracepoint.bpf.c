/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A correct FIFO with a tracepoint program beside it.
 *
 * class: beyond the table, a program that is no scheduler
 * caught-by: source
 * reason: source.section-not-allowed
 * as-object: object
 * as-object-reason: object.section-not-allowed
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(with_tracepoint_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(with_tracepoint_spy, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops with_tracepoint_ops = {
	.enqueue = (void *)with_tracepoint_enqueue,
	.name = "with_tracepoint",
};
