/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the schedulers of the corpus share. Kernel types and kernel functions come from the
 * generated vmlinux.h; libbpf's headers from its package.
 */
#ifndef CORPUS_H
#define CORPUS_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define OPS(name, args...)	     SEC("struct_ops/" #name) BPF_PROG(name, ##args)
#define OPS_SLEEPABLE(name, args...) SEC("struct_ops.s/" #name) BPF_PROG(name, ##args)
#define LICENCE(text)		     char _license[] SEC("license") = text

/* A queue of our own; numbers without the top bit are free for schedulers. */
#define QUEUE 0

#endif
