/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPU 0 hands tasks out to the others; a CPU that was given nothing helps itself.
 *
 * class: good
 */
#include "corpus.h"

LICENCE("GPL");

#define CENTRAL	  0
#define MAX_CPUS  256
#define MAX_MOVES 32

bool wants[MAX_CPUS];

/* Gives the first waiting task that may run there to each CPU that asked. */
static void hand_out(void)
{
	struct bpf_iter_scx_dsq it;
	u32 moved = 0;
	s32 i;

	if (!bpf_iter_scx_dsq_new(&it, QUEUE, 0)) {
		bpf_for(i, 0, MAX_MOVES) {
			struct task_struct *p = bpf_iter_scx_dsq_next(&it);
			s32 cpu;

			if (!p)
				break;
			cpu = scx_bpf_task_cpu(p);
			if (cpu <= CENTRAL || cpu >= MAX_CPUS || !wants[cpu])
				continue;
			if (!scx_bpf_dsq_move(&it, p, SCX_DSQ_LOCAL_ON | cpu, 0))
				continue;
			wants[cpu] = false;
			scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
			moved++;
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
}

void OPS(central_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, QUEUE, SCX_SLICE_DFL, enq_flags);
	scx_bpf_kick_cpu(CENTRAL, SCX_KICK_IDLE);
}

void OPS(central_dispatch, s32 cpu, struct task_struct *prev)
{
	if (cpu == CENTRAL)
		hand_out();
	if (scx_bpf_dsq_move_to_local(QUEUE))
		return;
	if (cpu >= 0 && cpu < MAX_CPUS)
		wants[cpu] = true;
}

s32 OPS_SLEEPABLE(central_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops central_ops = {
	.enqueue = (void *)central_enqueue,
	.dispatch = (void *)central_dispatch,
	.init = (void *)central_init,
	.name = "central",
};
