# Two commands do everything on a fresh machine: make quickstart, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where no NVIDIA driver is found, a CPU build of torch spares gigabytes of CUDA, if an index offers one; `make TORCH=` leaves it to pip.
TORCH ?= $(if $(shell command -v nvidia-smi 2>/dev/null),,torch==2.13.0)
# A processor with instructions for bfloat16 trains in it: on two cores 1.3 times as fast, to the same losses. Others would emulate it, slowly.
PRECISION := $(if $(shell grep -sm1 -E 'avx512_bf16|amx_bf16' /proc/cpuinfo),--trainer.precision bf16-mixed)

.PHONY: quickstart quickstart-tts test test-slow test-browser docs notebooks mutants lint bench bench-gpu bench-env metrics-env browser-env env clean

quickstart: env
	$(BIN)/vocolab fit -c recipes/quickstart.yaml $(PRECISION) $(if $(wildcard runs/quickstart/checkpoints/last.ckpt),--ckpt_path last)
	$(BIN)/vocolab report runs/quickstart --source 3001-10-0000 --target 3002

quickstart-tts: env
	$(BIN)/vocolab fit -c recipes/quickstart-tts-vocoder.yaml $(PRECISION) $(if $(wildcard runs/quickstart-tts-vocoder/checkpoints/last.ckpt),--ckpt_path last)
	$(BIN)/vocolab fit -c recipes/quickstart-tts.yaml $(PRECISION) $(if $(wildcard runs/quickstart-tts/checkpoints/last.ckpt),--ckpt_path last)
	$(BIN)/vocolab fit -c recipes/quickstart-tts-aligned.yaml $(PRECISION) $(if $(wildcard runs/quickstart-tts-aligned/checkpoints/last.ckpt),--ckpt_path last)
	$(BIN)/vocolab report runs/quickstart-tts --checkpoint runs/quickstart-tts-aligned/checkpoints/last.ckpt

# Two processes of one thread each: half the time of one process of two threads. A file's tests stay in one process.
# -rs: which tests were skipped, and why.
test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -rs

# What takes minutes, and all tests of the metrics: some skip in `make test`, where their packages are too large or compile.
test-slow: metrics-env browser-env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow -rs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -rs tests/metrics tests/evaluation

# The page of `vocolab demo` in a real browser; where none can be had, the tests skip and say so.
test-browser: browser-env
	$(BIN)/python -m pytest -m slow -rs tests/demo/test_browser.py || [ $$? = 5 ]  # 5: all are skipped

# The documentation as a site, in site/; a link that leads nowhere is an error. A test builds it too.
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Remove what running them left in the notebooks, which is not kept in git.
notebooks: env
	$(BIN)/python -m tests.notebooks

# Small changes put into the code, one at a time: which does no test notice? About an hour; `[tool.mutmut]` names the files.
mutants: env
	$(BIN)/pip install -q "mutmut>=3.8,<4"
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 2
	$(BIN)/python tests/mutants.py

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: bench-env
	@for script in matching update attention vocoder_rtf vocoder encode convert stream converter_quality prepare loader plan padding decode length retention chunks train_lm $(if $(wildcard runs/quickstart/checkpoints/last.ckpt),quickstart_quality) $(if $(wildcard runs/quickstart-tts-aligned/checkpoints/last.ckpt),quickstart_tts_quality tts_stream long_text) $(if $(wildcard runs/quickstart-tts-medusa/checkpoints/last.ckpt),draft); do \
		$(BIN)/python benchmarks/$$script.py --json benchmarks/results/$$script.json || exit 1; \
	done

# On one GPU, in the precision and at the sizes that it is used with.
bench-gpu: bench-env
	$(BIN)/python benchmarks/update.py --device cuda --batch 16 --precision bf16 --json benchmarks/results/update.cuda.json
	$(BIN)/python benchmarks/decode.py --device cuda --size full --precision bf16 --together 32 --json benchmarks/results/decode.cuda.json
	@for script in train_lm prepare vocoder_rtf encode chunks; do \
		$(BIN)/python benchmarks/$$script.py --device cuda --json benchmarks/results/$$script.cuda.json || exit 1; \
	done

bench-env: metrics-env
	$(BIN)/pip install -q -e ".[bench]"

# Resemblyzer asks for a package of voice activity detection that no longer builds; webrtcvad-wheels is the same with wheels.
metrics-env: env
	$(BIN)/pip install -q -e ".[metrics]"
	$(BIN)/pip install -q --no-deps resemblyzer==0.1.4

# Playwright drives the system's chromium and brings none. Debian's is installed where that can be done.
browser-env: env
	-$(BIN)/pip install -q "playwright>=1.50,<2"
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; } || echo "no chromium"

# torchscale, which a test holds RetNet against, would bring an old torchvision: so it comes without its dependencies.
env: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q $(TORCH) -e ".[dev]"
	$(BIN)/pip install -q --no-deps torchscale==0.3.0
	@touch $@

clean:
	rm -rf $(VENV) dist
