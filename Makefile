# `make run` sets everything up and trains, gates and pushes a model on the offline sample; `make test` checks it all.
PYTHON ?= python3
SEGPIPE := .venv/bin/segpipe
SAMPLE := output/brain_mri_tfrecords

.PHONY: help install run test lint image test-kubeflow test-current-tfx test-flink test-spark test-faults \
	test-fuzz nightly audit bench bench-compare clean

help:
	@echo "make run               set up, then: offline sample -> TFRecords -> model -> gate -> output/brain_mri/serving"
	@echo "make test              lint, types and the test suite"
	@echo "make image             the container image of Kubeflow's steps, as segpipe"
	@echo "make test-kubeflow     a compiled pipeline, each step in its container (needs Docker, or root to install it)"
	@echo "make test-current-tfx  what can differ on the TFX line for glibc 2.39 and newer, in that image (needs the same)"
	@echo "make test-flink        conversion and runs on a Flink cluster of this machine (needs root; fetches Flink)"
	@echo "make test-spark        a conversion and a run on a Spark cluster of this machine (needs root; fetches Spark)"
	@echo "make test-faults       kills, full disks and more in each component, 100 times (needs root; half an hour)"
	@echo "make test-fuzz         20,000 data sets, and 2,000 hostile inputs of each kind (make test: 300 and 30)"
	@echo "make nightly           all of the above, in full, on both TFX lines"
	@echo "make audit             the pinned packages against known weaknesses (needs pypi.org)"
	@echo "make bench             how fast, against what: a table of three rounds of benchmarks/, in output/benchmarks"
	@echo "make bench-compare COMMIT=…  what became faster or slower since then"
	@echo "make clean             delete what the pipeline made (output/)"

.venv/ready: setup.py tools/install.py $(wildcard constraints/*.txt)
	@$(PYTHON) tools/install.py

install: .venv/ready

$(SAMPLE)/conversion.json: | .venv/ready
	@$(SEGPIPE) convert --format brain-mri $(SAMPLE)

run: .venv/ready $(SAMPLE)/conversion.json
	@$(SEGPIPE) run --config configs/brain_mri.yaml
	@echo "For example, on the test slices:"
	@echo "  $(SEGPIPE) predict --model output/brain_mri/serving --output output/predictions $(SAMPLE)/test-*.tfrecord"

lint: .venv/ready
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

test: lint
	@tools/install_for_tests.sh
	@.venv/bin/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(if $(MARKERS),-m "$(MARKERS)")

image:
	docker build --file kubeflow/Dockerfile --tag segpipe .

test-kubeflow: .venv/ready
	@tools/test_kubeflow.sh

test-current-tfx:
	@tools/test_current_tfx.sh

test-flink: .venv/ready
	@tools/test_flink.sh

test-spark: .venv/ready
	@tools/test_spark.sh

test-faults: .venv/ready
	@tools/install_for_tests.sh
	@.venv/bin/pytest --numprocesses 2 -m faults tests/faults

test-fuzz: .venv/ready
	@FUZZ_CASES=20000 .venv/bin/pytest tests/fuzz

.tools/mlflow/ready: constraints/mlflow.txt | .venv/ready
	@tools/mlflow.sh

# What CI leaves out: most faults, new fuzzing, clusters, tests marked `nightly`, and on the current TFX line those marked
# `one_line`.
nightly: .tools/mlflow/ready test test-faults test-fuzz test-kubeflow test-flink test-spark
	@tools/test_current_tfx.sh --all

audit: .venv/ready
	@for line in 1.16 1.21; do \
	  .tools/bin/uvx pip-audit --requirement constraints/tfx-$$line.txt --no-deps --disable-pip || exit 1; done

bench: .venv/ready
	-@tools/pytorch.sh
	@.venv/bin/python -W ignore benchmarks/table.py $(NAMES)

bench-compare: .venv/ready
	@if [ -z "$(COMMIT)" ]; then echo "make bench-compare COMMIT=…, and NAMES='ingest step' for some scripts" >&2; exit 2; fi
	@.venv/bin/python -W ignore benchmarks/table.py --compare "$(COMMIT)" $(NAMES)

clean:
	rm -rf output
