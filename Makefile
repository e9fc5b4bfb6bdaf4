# `make demo` and `make test` set up, build and run on a machine with Python >= 3.10, a C++17 compiler and make, in a
# virtual environment of their own. PY=python3 uses that interpreter as it is and installs nothing. `make bench-engine`
# adds the libraries that infotorch is measured against; with PY it says which are missing, and leaves them out.
PYTHON ?= python3
ifdef PY
READY :=
PEERS :=
else
PY := .venv/bin/python
READY := .ready
PEERS := .peers
endif

demo: .built
	$(PY) -m infotorch demo
# One thread a test, as compilers work beside most of them; tests about threads set their number.
test: .built
	OMP_NUM_THREADS=1 $(PY) -m pytest
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
bench: .built
	$(PY) -m benchmarks.ops
	$(PY) -m benchmarks.blocks.kernel
	$(PY) -m benchmarks.unique_information.speed
	$(PY) -m benchmarks.measures.gradient_variance
	$(PY) -m benchmarks.measures.baselines
	$(PY) -m benchmarks.measures.activations
	$(PY) -m benchmarks.bounds.plugin
	$(PY) -m benchmarks.bounds.ensembles
	$(PY) -m benchmarks.limit
	$(PY) -m benchmarks.weights.sweep

bench-engine: .built $(PEERS)
	$(PY) -m benchmarks.engine
	$(PY) -m benchmarks.engine.page
	$(PY) -m benchmarks.engine.coverage

.ready: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: Python must be 3.10 or newer; \
	got $$($(PYTHON) --version 2>&1). Run: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt torch numpy "setuptools>=77" "pybind11>=2.13" ninja
	.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[dev]"
	touch $@
# Without their dependencies: these would bring another torch.
.peers: .ready
	.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt --no-deps \
		$(shell sed -n '/^bench = \[/,/^\]/s/^ *\(".*"\),/\1/p' pyproject.toml)
	touch $@
.built: $(READY) setup.py $(shell find csrc -type f)
	$(PY) setup.py -q build_ext --inplace
	touch $@
clean:
	rm -rf build site .built .peers .ready .venv infotorch/*.so
.PHONY: demo test docs bench bench-engine clean
