/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The words of a model that forgot to write code.
 *
 * class: beyond the table, not C
 * caught-by: source
 * reason: source.syntax
 */
#include "corpus.h"

LICENCE("GPL");

Here is a scheduler that favours interactive tasks :

    void
    OPS(no_c_enqueue, struct task_struct *p,
	u64 enq_flags){ scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags) }

    SEC(".struct_ops.link") struct sched_ext_ops no_c_ops = {
	    .enqueue = (void *)no_c_enqueue,
	    .name = "no_c",
    };
