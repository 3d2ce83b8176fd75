# Commands of the course; `make` alone lists them. The first one makes .venv and installs, later ones only use it.
#   PYTHON=python3.12   another Python to make .venv with
#   NB=01               one notebook instead of all (number, name or path)
#   PORT=8890           of JupyterLab; LAB_ARGS='...', TEST_ARGS='...' and GPU_ARGS='...' are handed on
#   SEEDS=10-29         of `make seeds`; CLAIMS='6.9 6.14' takes only the cells that these need
#   TRY=10 SEED=123     so many breaks, drawn at random with that seed
# COURSE_SEED, COURSE_PROFILE, COURSE_DEVICE, COURSE_DATA_DIR: see course_utils/runtime.py

PYTHON ?= python3
REPO ?= $(COURSE_REPO)
PY := .venv/bin/python
READY := .venv/.ready
UNFINISHED := .venv/.unfinished
UV := $(shell command -v uv 2>/dev/null)

# Threads that wait sleep instead of spinning: beside another busy process, spinning can cost 50 times the time.
QUIET := OMP_WAIT_POLICY=PASSIVE

# glibc keeps memory that was freed: without that, one and the same loop varies by up to 70 %.
KEEP := MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_TOP_PAD_=300000000

.PHONY: help lab test run store times claims seeds bench peers gpu breaks stamp clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

# A set-up that was interrupted is begun anew; a .venv that somebody made by hand is completed.
$(READY): pyproject.toml
	@test ! -e $(UNFINISHED) || rm -rf .venv
	@test -x $(PY) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "The course needs Python 3.11 or newer. '$(PYTHON) -V' says: $$($(PYTHON) -V 2>&1)." \
	       "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing into .venv, once: minutes, and up to 6 GB with PyTorch's GPU libraries"
	@mkdir -p .venv && touch $(UNFINISHED)
ifeq ($(UV),)
	@test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install -e '.[lab,test]'
else
	@test -x $(PY) || uv venv --seed --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	uv pip install --python $(PY) -e '.[lab,test]'
endif
	@mv $(UNFINISHED) $(READY) && touch $(READY)

lab: $(READY) ## JupyterLab in notebooks/ (prints its address; PORT=8890)
	@flags="--ServerApp.root_dir=notebooks $(if $(PORT),--port=$(PORT))"; \
	if [ "$$(id -u)" = 0 ]; then flags="$$flags --allow-root"; fi; \
	if [ "$$(uname)$$DISPLAY$$WAYLAND_DISPLAY" = Linux ] || ! $(PY) -c 'import webbrowser; webbrowser.get()' 2>/dev/null; \
	then flags="$$flags --no-browser"; fi; \
	$(QUIET) $(PY) -m jupyterlab $$flags $(LAB_ARGS)

# Downloads, judges and records go to a folder that lives as long as the run: nothing cached can hide a broken helper.
test: $(READY) ## unit tests and every notebook, two at a time where there are two cores; then ten random breaks
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT INT TERM && \
	COURSE_DATA_DIR="$${COURSE_DATA_DIR:-$$folder/data}" COURSE_BUILD_DIR="$$folder/build" \
	COURSE_STATIC=1 OMP_NUM_THREADS=1 $(QUIET) $(PY) -m pytest -n auto --dist loadfile \
	  --nbval-lax --nbval-current-env --nbval-cell-timeout 900 --nbval-sanitize-with tests/sanitize.cfg $(TEST_ARGS)
	$(if $(TEST_ARGS),,@$(QUIET) $(PY) tools/breaks.py --passed --try $(or $(TRY),10) $(if $(SEED),--seed $(SEED)))

run: $(READY) ## run a notebook (NB=01) or all without a browser, into readable HTML under build/
	@$(QUIET) $(PY) tools/run.py $(NB)

store: $(READY) ## run, and keep the outputs in the notebook and its time in the package
	@$(QUIET) $(PY) tools/run.py --store $(NB)

times: $(READY) ## run, and keep only the time (of this profile on this device)
	@$(QUIET) $(PY) tools/run.py --times $(NB)

claims: $(READY) ## the table of all claims, from the records of the runs so far
	@$(PY) -m course_utils.claims

seeds: $(READY) ## notebooks at many seeds (NB=06 SEEDS=10-29), resumable; how often each claim holds, and its figures
	@$(QUIET) $(PY) tools/seeds.py $(NB) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(CLAIMS),--claims $(CLAIMS))

bench: $(READY) ## helpers against a plain loop and against other packages (`make peers`), as ratios in one run
	@$(QUIET) $(KEEP) $(PY) -m benchmarks

# --no-deps: torchattacks asks for a requests too old for Jupyter, cleverhans for TensorFlow Probability; neither uses it here.
peers: $(READY) ## install the four packages of attacks that `make bench` compares with
	$(PY) -m pip install -e '.[bench]'
	$(PY) -m pip install --no-deps torchattacks cleverhans

gpu: $(READY) ## what only a GPU can show, in eight minutes (GPU_ARGS='--device cpu': a rehearsal)
	@$(PY) tools/gpu.py $(GPU_ARGS)

breaks: $(READY) ## helpers broken on purpose, in a copy: the tests have to notice each (TRY=10: ten of them, at random)
	@$(QUIET) $(PY) tools/breaks.py $(if $(TRY),--try $(TRY)) $(if $(SEED),--seed $(SEED))

stamp: $(READY) ## Colab badge and install cell into every notebook (REPO=https://github.com/you/fork: a new address)
	@$(PY) tools/stamp.py $(REPO)

clean: ## remove .venv, build/ and caches; data/ stays
	rm -rf .venv build dist *.egg-info .pytest_cache notebooks/.ipynb_checkpoints
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
