/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gives up when a cgroup goes away.
 *
 * class: 19, error on cgroup exit
 * caught-by: behaviour
 * reason: behaviour.ejected or behaviour.not-enabled
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(cgroup_exit_error_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void OPS_SLEEPABLE(cgroup_exit_error_cgroup_exit, struct cgroup *cgrp)
{
	static char text[] = "a cgroup went away";
	unsigned long long none = 0;

	scx_bpf_error_bstr(text, &none, 0);
}

SEC(".struct_ops.link")
struct sched_ext_ops cgroup_exit_error_ops = {
	.enqueue = (void *)cgroup_exit_error_enqueue,
	.cgroup_exit = (void *)cgroup_exit_error_cgroup_exit,
	.name = "cgroup_exit_error",
};
