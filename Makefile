# `make run` installs everything and runs the quickstart, `make test` the tests, `make docs` builds the site.
# `make robomimic` adds the simulator of robomimic's tasks, `make javascript` onnxruntime for Node; the
# tests then cover them too.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

ENGINE ?= $(firstword $(foreach engine,podman docker,$(if $(shell command -v $(engine)),$(engine))))
# The command that builds an image from a Dockerfile, such as `buildah bud`.
IMAGE_BUILD ?= $(if $(ENGINE),$(ENGINE) build)
QC_IMAGE_REGISTRY ?= localhost
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' qc_core/__init__.py)
# onnxruntime-gpu for nodes that also run policies on a GPU.
ONNXRUNTIME ?= onnxruntime

.PHONY: run example test faults lint types docs reference robomimic javascript images clean gpu-wheels gpu-rehearsal

run: .venv/installed-run
	.venv/bin/qc run cube-single-quickstart

# The commands of examples/reach/README.md as they are, in runs/example.
example: .venv/installed-run
	.venv/bin/python -m tests.examples.readme runs/example

# One process more than cores, because some tests wait; each has one thread. Files run in alphabetical order, which starts those that run
# the complete pipeline early; by default, the files with the fewest tests run last.
test: .venv/installed-dev
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses=$$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist=loadfile \
	  --no-loadscope-reorder

# Attacks with random faults; they take minutes. SEED chooses other ones.
SEED ?= 1
faults: .venv/installed-dev
	.venv/bin/python -m tests.faults.s3_faults --attempts 400 --seed $(SEED) --slow
	FAULTS=2000 SEED=$(SEED) .venv/bin/python -m pytest -s -q tests/faults/test_file_faults.py
	.venv/bin/python -m tests.faults.kills --attempts 1000 --seed $(SEED) --commands publish
	.venv/bin/python -m tests.faults.kills --attempts 60 --seed $(SEED) --commands pretrain tune run

lint: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/installed-dev
	.venv/bin/pyright

# The site in build/docs; a broken link, an unknown anchor or any other warning is an error.
docs: .venv/installed-docs
	.venv/bin/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky -c docs . build/docs

# The reference pages that are generated from the code.
reference: .venv/installed-run
	.venv/bin/python -m docs.generate_reference

robomimic: .venv/installed-robomimic

javascript: node_modules/onnxruntime-node

# The packages that the GPU machine lacks, for `python3 -m benchmarks.gpu` there.
gpu-wheels: .venv/installed-run
	.venv/bin/python -m benchmarks.gpu.wheels

# The GPU kit with tiny sizes on this CPU, in an environment with the GPU machine's versions, and
# without network where a network namespace of its own is permitted, and the tests of its results.
GPU_PYTHON ?= python3.12
NO_NETWORK := $(shell unshare --net true 2>/dev/null && echo unshare --net)
gpu-rehearsal: .gpu-rehearsal/installed
	@[ -d .gpu-wheels ] || $(MAKE) gpu-wheels
	rm -rf runs/gpu-rehearsal runs/gpu-rehearsal-work
	OMP_NUM_THREADS=1 $(NO_NETWORK) .gpu-rehearsal/bin/python -m benchmarks.gpu --tiny --minutes 40 \
	  --output runs/gpu-rehearsal --work runs/gpu-rehearsal-work
	OMP_NUM_THREADS=1 PYTHONPATH=runs/gpu-rehearsal-work/site:. .gpu-rehearsal/bin/python -m pytest --quiet --noconftest \
	  -p no:cacheprovider tests/benchmarks/gpu/rehearsal.py tests/benchmarks/gpu/test_jax_update.py

.gpu-rehearsal/installed: benchmarks/gpu/rehearsal.txt
	@$(GPU_PYTHON) -m venv .gpu-rehearsal
	@.gpu-rehearsal/bin/python -m pip --disable-pip-version-check install --quiet \
	  --requirement benchmarks/gpu/rehearsal.txt
	@touch $@

images: images/train images/runtime

images/%: FORCE
	@[ -n "$(IMAGE_BUILD)" ] || { echo "podman or docker is needed to build images" >&2; exit 2; }
	$(IMAGE_BUILD) --file $@/Dockerfile --tag $(QC_IMAGE_REGISTRY)/q-chunking-$*:$(VERSION) \
	  --build-arg VERSION=$(VERSION) --build-arg COMMIT=$$(git describe --always --abbrev=40 --dirty) \
	  --build-arg ONNXRUNTIME='$(ONNXRUNTIME)' .

FORCE:

clean:
	rm -rf .venv node_modules build *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
	  { echo "Python 3.10 or newer is needed; name one with make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "venv is needed (Debian: apt-get install python3-venv)" >&2; exit 2; }

.venv/installed-run: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing into .venv (a few minutes the first time)"
	@$(PIP) --editable '.[train,pipeline]'
	@touch $@

.venv/installed-dev: .venv/installed-run
	@$(PIP) --editable '.[train,pipeline,dev]'
	@$(PIP) --no-deps mlflow
	@touch $@

.venv/installed-docs: .venv/installed-run
	@.venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "the documentation needs Python 3.11 or newer" >&2; exit 2; }
	@$(PIP) --editable '.[train,pipeline,docs]'
	@touch $@

.venv/installed-robomimic: .venv/installed-run
	@$(PIP) --editable '.[train,pipeline,robomimic]'
	@touch $@

# Its install scripts only download CUDA.
node_modules/onnxruntime-node:
	@npm install --silent --prefix . --no-save --no-audit --no-fund --ignore-scripts onnxruntime-node@1.30.0
	@touch $@
