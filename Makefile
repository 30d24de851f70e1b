# The contract is in README.md; `make help` prints it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

# Empty: the newest Python from 3.11 to 3.13 that can create a virtual environment.
PYTHON ?=
# For the oldest line of Ansible: Python 3.11, if this machine has it.
OLDEST_PYTHON ?= 3.11
WORKERS ?= 2
SANDBOX_DIR ?= $(CURDIR)/.sandbox
LAB ?= $(shell sed -n 's/^aws_infrastructure_name: *//p' group_vars/all.yml)
BIN := $(CURDIR)/.venv/bin
export SANDBOX_DIR
export PATH := $(BIN):$(PATH)
# Ansible refuses to start with another encoding, and ignores ansible.cfg in a world-writable directory.
export LC_ALL := C.UTF-8
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Without bytecode each start of Ansible, and of each of its modules, takes a second more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Print this
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: setup
setup: ## Create .venv from the pinned requirements, with the newest suitable Python or PYTHON=...
	@./.ci/environment .venv "$(PYTHON)"

.PHONY: lock
lock: setup ## Pin requirements.in again, for every Python from 3.11
	for input in requirements.in sandbox/images/ros2/ros2.in sandbox/images/ros2/interfaces/build.in bench/awscli.in .ci/audit.in; do
	  uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --generate-hashes --upgrade $$input -o $${input%.in}.txt
	done

.PHONY: sandbox
sandbox: setup ## Create a running, verified lab on this machine
	python -m sandbox up
	. "$(SANDBOX_DIR)/env"
	ansible-playbook site.yml

.PHONY: sandbox-down
sandbox-down: setup ## Destroy the lab, and stop what the sandbox started
	status=0
	if python -m sandbox running; then
	  . $(SANDBOX_DIR)/env
	  ansible-playbook playbooks/destroy.yml -e aws_infrastructure_destroy_confirm=$(LAB) || status=$$?
	fi
	python -m sandbox down
	exit $$status

# Installs only missing programs. Without a Python for the oldest line of Ansible its tests are reported as not run.
.PHONY: tools
tools: setup ## Install the programs of the tests with apt, and create .venv-oldest
	@if python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
	  ./.ci/environment .venv-oldest "$(OLDEST_PYTHON)" || test $$? = 3
	fi
	python -m sandbox tools

# In parallel, because the tests wait for hosts, packages and services most of the time.
# `down` also stops a Docker engine that the tests started. pytest's summary stays the last line.
TEST := pytest --numprocesses $(WORKERS) --no-loadscope-reorder --durations 20
.PHONY: test
test: tools ## Run lint, unit, DDS, molecule and end-to-end tests; test-full runs all of them
	status=0
	$(TEST) || status=$$?
	for state in e2e e2e-other; do python -m sandbox --state .cache/$$state down; done
	exit $$status

.PHONY: test-full
test-full: tools ## Run all tests, including the long ones that test leaves out
	status=0
	$(TEST) --full || status=$$?
	for state in e2e e2e-other; do python -m sandbox --state .cache/$$state down; done
	exit $$status

.PHONY: lint
lint: setup ## Check the source tree: formats, types, Ansible's and the collection's own rules
	pytest -m gate

.PHONY: test-unit
test-unit: tools ## Test the modules, the cognitive service and the sandbox's parts
	pytest -m unit

.PHONY: test-dds
test-dds: tools ## Test real DDS between network namespaces of this machine; needs root
	pytest -m dds

.PHONY: test-role
test-role: tools ## Run the molecule scenario of one role: make test-role ROLE=docker
	pytest --full -m molecule -k "$(or $(ROLE),$(error ROLE is empty; one of: $(notdir $(wildcard roles/*))))"

.PHONY: test-e2e
test-e2e: tools ## Test the life of a lab in a sandbox of its own
	pytest -m e2e

.PHONY: audit
audit: setup ## Check the pinned Python packages for known vulnerabilities; needs PyPI's own server
	uv venv --quiet --clear .cache/audit
	uv pip install --quiet --require-hashes --python .cache/audit -r .ci/audit.txt
	for file in requirements.txt sandbox/images/ros2/interfaces/build.txt compose/ros2/requirements.txt; do
	  .cache/audit/bin/pip-audit --require-hashes --disable-pip -r $$file
	done

.PHONY: versions
versions: setup ## Print which images and packages of compose/versions.yml have newer versions; asks their registries
	python docs/versions.py

.PHONY: docs
docs: setup ## Write docs/reference from the plugins and the roles' argument specs
	python docs/generate.py

.PHONY: bench
bench: tools ## Compare GPU metrics with the guide's script, and measure the lab's phases
	python bench/gpu_metrics.py
	python bench/phases.py

.PHONY: bench-second-run
bench-second-run: ## Measure a run that has nothing to change, in the running sandbox (PEER=folder of another role)
	. .sandbox/env && python bench/second_run.py $(if $(PEER),--peer $(PEER))

.PHONY: bench-gpu
bench-gpu: setup ## Compare the metrics of a real GPU with nvidia-smi; changes nothing
	python bench/gpu_figures.py $(LOAD)

.PHONY: bench-dds
bench-dds: tools ## Count the large samples that arrive, with and without role ros2_networking
	python bench/dds.py
