/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A macro that doubles itself 30 times.
 *
 * class: beyond the table, compiler bomb
 * caught-by: source
 * reason: source.bomb
 */
#include "corpus.h"

LICENCE("GPL");

#define A0(x) x x
#define A1(x) A0(x) A0(x)
#define A2(x) A1(x) A1(x)
#define A3(x) A2(x) A2(x)
#define A4(x) A3(x) A3(x)
#define A5(x) A4(x) A4(x)
#define A6(x) A5(x) A5(x)
#define A7(x) A6(x) A6(x)
#define A8(x) A7(x) A7(x)
#define A9(x) A8(x) A8(x)
#define B0(x) A9(x) A9(x)
#define B1(x) B0(x) B0(x)
#define B2(x) B1(x) B1(x)
#define B3(x) B2(x) B2(x)
#define B4(x) B3(x) B3(x)
#define B5(x) B4(x) B4(x)
#define B6(x) B5(x) B5(x)
#define B7(x) B6(x) B6(x)
#define B8(x) B7(x) B7(x)
#define B9(x) B8(x) B8(x)
#define C0(x) B9(x) B9(x)
#define C1(x) C0(x) C0(x)
#define C2(x) C1(x) C1(x)
#define C3(x) C2(x) C2(x)
#define C4(x) C3(x) C3(x)

volatile u64 sum;

void OPS(macro_bomb_enqueue, struct task_struct *p, u64 enq_flags)
{
	C4(sum++;)
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops macro_bomb_ops = {
	.enqueue = (void *)macro_bomb_enqueue,
	.name = "macro_bomb",
};
