# The contract is in README.md; `make help` prints it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

# Empty: the newest Python from 3.11 to 3.13 that can make a virtual environment.
PYTHON ?=
# For the oldest line of Ansible, which the tests run as well: Python 3.11, where there is one.
OLDEST_PYTHON ?= 3.11
WORKERS ?= 2
SANDBOX_DIR ?= $(CURDIR)/.sandbox
LAB ?= $(shell sed -n 's/^aws_infrastructure_name: *//p' group_vars/all.yml)
BIN := $(CURDIR)/.venv/bin
export SANDBOX_DIR
export PATH := $(BIN):$(PATH)
# Ansible refuses to start with another encoding, and ignores ansible.cfg in a directory that every user may write to.
export LC_ALL := C.UTF-8
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Without the bytecode of what it imports each start of Ansible, and of each of its modules, takes a second more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Print this
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: setup
setup: ## Create .venv from the pinned requirements, with the newest suitable Python or PYTHON=...
	@./.ci/environment .venv "$(PYTHON)"

.PHONY: lock
lock: setup ## Pin requirements.in anew, for every Python from 3.11
	for input in requirements.in tests/dds/ros2.in bench/awscli.in .ci/audit.in; do
	  uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --generate-hashes --upgrade $$input -o $${input%.in}.txt
	done

.PHONY: sandbox
sandbox: setup ## From nothing to a running, verified lab on this machine
	python -m sandbox up
	. "$(SANDBOX_DIR)/env"
	ansible-playbook site.yml

.PHONY: sandbox-down
sandbox-down: setup ## Destroy the lab, stop what the sandbox started, and only that
	status=0
	if python -m sandbox running; then
	  . $(SANDBOX_DIR)/env
	  ansible-playbook playbooks/destroy.yml -e aws_infrastructure_destroy_confirm=$(LAB) || status=$$?
	fi
	python -m sandbox down
	exit $$status

# What the tests run besides the environment of `setup`; on a machine that has it nothing is installed. Without a Python for
# the oldest line of Ansible its tests are reported as not run.
.PHONY: tools
tools: setup ## Install what the tests run besides, with apt, and create .venv-oldest
	@if python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
	  ./.ci/environment .venv-oldest "$(OLDEST_PYTHON)" || test $$? = 3
	fi
	python -m sandbox tools

# Side by side, since each of them waits much: for hosts to boot, for packages, for services.
# An engine that the tests had to start is stopped again; the last line stays pytest's summary.
TEST := pytest --numprocesses $(WORKERS) --no-loadscope-reorder --durations 20
.PHONY: test
test: tools ## Lint, unit, real DDS, molecule, end to end; test-full leaves nothing out
	status=0
	$(TEST) || status=$$?
	for state in e2e e2e-other; do python -m sandbox --state .cache/$$state down; done
	exit $$status

# Several minutes of faults and bad inputs more.
.PHONY: test-full
test-full: tools ## All of test, and what differs little from it and takes long
	status=0
	$(TEST) --full || status=$$?
	for state in e2e e2e-other; do python -m sandbox --state .cache/$$state down; done
	exit $$status

.PHONY: lint
lint: setup ## The tree itself: formats, types, Ansible's and the collection's own rules
	pytest -m gate

.PHONY: test-unit
test-unit: tools ## Modules, the cognitive service, the sandbox's parts
	pytest -m unit

.PHONY: test-dds
test-dds: tools ## Real DDS between network namespaces of this machine; needs root
	pytest -m dds

.PHONY: test-role
test-role: tools ## One role's molecule scenario: make test-role ROLE=docker
	pytest --full -m molecule -k "$(or $(ROLE),$(error ROLE is empty; one of: $(notdir $(wildcard roles/*))))"

.PHONY: test-e2e
test-e2e: tools ## The whole lab's life in a sandbox of its own
	pytest -m e2e

.PHONY: audit
audit: setup ## Look for known vulnerabilities of the pinned Python packages; needs PyPI's own server
	uv venv --quiet --clear .cache/audit
	uv pip install --quiet --require-hashes --python .cache/audit -r .ci/audit.txt
	for file in requirements.txt tests/dds/ros2.txt compose/ros2/requirements.txt; do
	  .cache/audit/bin/pip-audit --require-hashes --disable-pip -r $$file
	done

.PHONY: docs
docs: setup ## Write docs/reference from the plugins and the roles' argument specs
	python docs/generate.py

.PHONY: bench
bench: tools ## Measure GPU metrics beside the guide's script, and time the lab's phases
	python bench/gpu_metrics.py
	python bench/phases.py

.PHONY: bench-second-run
bench-second-run: ## Measure a run that has nothing to change, in the running sandbox (PEER=folder of another role)
	. .sandbox/env && python bench/second_run.py $(if $(PEER),--peer $(PEER))

.PHONY: bench-gpu
bench-gpu: setup ## Show what is published of a real GPU beside what nvidia-smi says of it; changes nothing
	python bench/gpu_figures.py $(LOAD)

.PHONY: bench-dds
bench-dds: tools ## Count the large samples that arrive, with and without role ros2_networking
	python bench/dds.py
