# SPDX-License-Identifier: Apache-2.0
# Everything from a clean clone on Debian 12 or 13, as root or with sudo; asks nothing.
# What is slow to make is kept in $(CACHE), never in the tree.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export SCHEDCP_CACHE ?= $(HOME)/.cache/schedcp
export SCHEDCP_T0 := $(shell date +%s)
export PYTHONPATH := $(CURDIR)
export PYTHONPYCACHEPREFIX := $(SCHEDCP_CACHE)/pycache
export MYPY_CACHE_DIR := $(SCHEDCP_CACHE)/mypy
export RUFF_CACHE_DIR := $(SCHEDCP_CACHE)/ruff
export PRE_COMMIT_HOME := $(SCHEDCP_CACHE)/pre-commit
export HYPOTHESIS_STORAGE_DIRECTORY := $(SCHEDCP_CACHE)/hypothesis

VENV := $(SCHEDCP_CACHE)/venv
PYTHON := $(VENV)/bin/python
PYTEST := $(PYTHON) -m pytest -o cache_dir=$(SCHEDCP_CACHE)/pytest
# Files beside each other, two at a time: a guest under emulation keeps more than one core busy.
TESTS := $(PYTEST) -n 2 --dist loadfile --durations 15
NONE_IS_FINE := || [ $$? = 5 ] # a filter in ARGS may leave none in one of the halves

.PHONY: help base deps venv builder bpf vm verdicts deb unit test tests-without-vm corpus kernels lint demo vm-shell clean clean-cache

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

deps: ## install the host packages that are missing (root or sudo)
	@tools/install-deps

venv: deps ## the Python environment of tests and linters
	@tools/venv

base: deps ## the three slow foundations (environment, builder, micro-VM) beside each other
	@$(MAKE) -j3 venv builder vm

builder: deps ## the trixie chroot that compiles and packages
	@tools/builder make >/dev/null

bpf: base ## compile the BPF schedulers
	@tools/build-bpf >/dev/null

vm: deps ## the micro-VM: kernel, image, snapshot of the booted machine
	@python3 -m schedcpd.microvm build

verdicts: bpf ## prove the shipped schedulers in the micro-VM
	@tools/make-verdicts

deb: verdicts ## build the Debian packages
	@tools/build-deb >/dev/null

unit: venv ## the tests that need neither root nor the micro-VM (seconds)
	@$(PYTEST) -m "not vm and not toolchain" $(ARGS)

test: verdicts ## all tests, those in the micro-VM included
	@$(MAKE) -j2 deb tests-without-vm
	@$(TESTS) -m vm $(ARGS) $(NONE_IS_FINE)

tests-without-vm: base
	@$(TESTS) -m "not vm" $(ARGS) $(NONE_IS_FINE)

corpus: verdicts ## every bad and every good scheduler through the verifier (long)
	@SCHEDCP_CORPUS=all $(PYTEST) tests/toolchain/test_corpus.py tests/vm/test_gate.py $(ARGS)

KERNELS ?= 6.12 6.16 6.17 6.18
kernels: base ## every scheduler on older kernels, the oldest built here (minutes, once); KERNELS="6.12 6.18" chooses
	@case " $(KERNELS) " in *" 6.12 "*) tools/build-kernel >/dev/null ;; esac
	@SCHEDCP_KERNELS="$(KERNELS)" $(PYTEST) tests/vm/test_kernels.py $(ARGS)

lint: venv ## format, lint and type-check
	@$(PYTEST) tests/unit/test_lint.py $(ARGS)

demo: verdicts ## the main job, end to end, on a real kernel
	@tools/build-deb schedcp >/dev/null
	@$(PYTHON) tools/demo/demo.py --debs $(SCHEDCP_CACHE)/deb/current-schedcp $(ARGS)

vm-shell: vm ## a root shell in the micro-VM (Ctrl-A X ends it)
	@python3 -m schedcpd.microvm shell

clean: ## remove what was built for this tree (BPF objects, verdicts, packages, Python caches)
	@cd $(SCHEDCP_CACHE) 2>/dev/null && rm -rf bpf verdicts deb pycache mypy ruff pytest hypothesis || true

clean-cache: ## remove the whole cache (needs root or sudo for the chroot)
	@if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; $$sudo rm -rf --one-file-system $(SCHEDCP_CACHE)
