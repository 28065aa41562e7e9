/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GNU build ids of qemu-system-x86_64 on which `python -m schedbench.vclock check` has passed.
 * schedbench/vclock/qemu.py reads this file too: one build a line.
 */
/* clang-format off */
	{ "0fbbd5ca8d2d0a32532049e20739f3e0d521c5ed", "10.0.2+ds-2+deb13u1~bpo12+1, amd64" },
	{ "e5588a4ae9dc724ce182d9d2421089e0668fd1bd", "10.0.13+ds-0+deb13u1, amd64" },
	/* clang-format on */
