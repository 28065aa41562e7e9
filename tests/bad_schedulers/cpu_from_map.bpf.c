/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sends tasks to a CPU that a map names, whatever it names.
 *
 * class: 12, CPU number not checked
 * caught-by: source
 * reason: source.cpu-unchecked
 */
#include "corpus.h"

LICENCE("GPL");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, s32);
} home SEC(".maps");

void OPS(cpu_from_map_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 zero = 0;
	s32 *cpu = bpf_map_lookup_elem(&home, &zero);

	if (cpu)
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | *cpu, SCX_SLICE_DFL, enq_flags);
	else
		scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops cpu_from_map_ops = {
	.enqueue = (void *)cpu_from_map_enqueue,
	.name = "cpu_from_map",
};
