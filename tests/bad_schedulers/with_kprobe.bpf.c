/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A correct FIFO that brings a kprobe along; a loader that attaches everything would attach it.
 *
 * class: beyond the table, a program that is no scheduler
 * caught-by: source
 * reason: source.section-not-allowed
 * as-object: object
 * as-object-reason: object.section-not-allowed
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(with_kprobe_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC("kprobe/do_nanosleep")
int with_kprobe_spy(struct pt_regs *ctx)
{
	return bpf_get_smp_processor_id() & 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops with_kprobe_ops = {
	.enqueue = (void *)with_kprobe_enqueue,
	.name = "with_kprobe",
};
