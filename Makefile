# One verb for each thing that people do here; `make` alone lists them. The first call sets everything up: Python
# packages go into .venv, at the versions and digests of the lock files. The rest of the machine is left alone, but for
# Debian's python3-venv (install), and chromium, default-jre-headless, maven and r-base-core (test), when they are missing
# and make runs as root; the tests keep Kafka and MinIO in ~/.cache.

PORT ?= 8080
STATE ?= state/demo
MINUTES ?= 3
# Tests wait more than they work, so there may be more of them at a time than there are processors.
WORKERS ?= 3
ARGS ?=
# The Pythons of the hosts that a release is for: Debian 12 has 3.11, Debian 13 has 3.13.
PYTHONS ?= 3.11 3.13

VENV := .venv
# Tests start thousands of processes: without compiled modules each of them takes 1.6 times the processor time to start.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(VENV)/bin/pytest
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300
# The first Python that fits; looked for only when .venv is missing.
PYTHON = $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$python && break; done)

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: help install demo test host soak quick faults chaos lint bench docs release parts screenshots lock clean developer browser kafka stores prometheus rscript ahead

help:  ## list these verbs
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

install: $(VENV)/installed  ## make .venv with the command spotlightd in it

demo: install  ## real files on a machine of your own: PORT=8080, STATE=state/demo
	$(VENV)/bin/spotlightd demo --port $(PORT) --state $(STATE)

test: ahead developer browser rscript kafka stores prometheus  ## all tests, the slow ones and the browser's too: WORKERS=3 side by side
	$(PYTEST) --ignore=tests/host --ignore=tests/benchmarks/test_smoke.py --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

host: release parts  ## the playbook on a booted Debian with a real systemd; as root; HOST=optional: where one can be booted
	@test "$$(id -u)" != 0 || command -v systemd-nspawn mmdebstrap zstd >/dev/null || { $(APT) update && $(APT) install --no-install-recommends \
		systemd-container mmdebstrap zstd iproute2 openssh-client curl >/dev/null; }
	@$(VENV)/bin/python -m tests.host.image >/dev/null && { echo '$(PYTEST) tests/host $(ARGS)'; $(PYTEST) tests/host $(ARGS); } \
		|| { test "$(HOST)" = optional && ! $(VENV)/bin/python -m tests.host.image >/dev/null 2>&1; }

soak: developer browser kafka  ## the slow tests at full length: a hundred kills, a crash at every step, two minutes of load, an hour of a quiet feed, each benchmark
	SPOTLIGHTD_KILLS=100 SPOTLIGHTD_QUIET_SECONDS=4200 SPOTLIGHTD_LOAD_SECONDS=120 SPOTLIGHTD_CRASH_STRIDE=1 $(PYTEST) -m slow --ignore=tests/host tests $(ARGS)

quick: developer  ## the tests that take less than a minute
	$(PYTEST) --ignore=tests/host -m 'not slow and not browser' $(ARGS)

faults: developer kafka  ## the tests of streams under faults, and their table in docs/reliability.md
	FAULTS_JSON=$(CURDIR)/.cache/faults.json $(PYTEST) tests/streams $(ARGS)
	@$(VENV)/bin/python -m tests.streams.table .cache/faults.json

chaos: developer kafka  ## faults in an order drawn by a seed: SEED=1, MINUTES=3
	@$(VENV)/bin/python -m tests.streams.chaos $(SEED) --minutes $(MINUTES)

lint: developer  ## ruff, mypy, the import contract and ansible-lint
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	cd ansible && PATH=$(CURDIR)/$(VENV)/bin:$$PATH ansible-lint -q --offline --profile production site.yml

bench: developer  ## all benchmarks, as JSON on stdout; ARGS=name for one
	@$(VENV)/bin/python benchmarks/run.py $(ARGS)

docs: developer  ## write the generated pages of docs/ and the dashboards of grafana/
	$(VENV)/bin/python docs/generate.py
	$(VENV)/bin/python -m grafana.generate

release: install  ## the file that ansible/ installs: build/spotlightd-VERSION.tar, with all packages in it
	@rm -rf build/release build/lib build/bdist.* && mkdir -p build/release  # setuptools would pack modules that are gone
	@for python in $(PYTHONS); do \
		$(VENV)/bin/python ansible/wheels.py requirements.lock $$python > build/release/$$python.lock \
		&& $(PIP) download --require-hashes --no-deps --only-binary=:all: --python-version $$python \
			--requirement build/release/$$python.lock --dest build/release/wheels || exit 1; done
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir build/release .
	@cp requirements.lock build/release/ && cp -r docs/shell build/release/shell
	@tar --create --file build/spotlightd-$(VERSION).tar --directory build/release --sort=name --owner=0 --group=0 .
	@rm -rf build/release
	@ls -l build/spotlightd-$(VERSION).tar

parts: developer kafka stores  ## the files of Kafka and the S3 stores that ansible/ installs: build/kafka-VERSION.tar, minio, weed
	@mkdir -p build
	@$(VENV)/bin/python -m tests.host.parts build

screenshots: developer browser  ## take the pictures in docs/screenshots
	$(VENV)/bin/python tests/web/screenshots.py

lock:  ## bring the lock files in line with pyproject.toml; ARGS=--upgrade for newer versions
	python3 -m venv .cache/lock
	.cache/lock/bin/python -m pip --quiet --disable-pip-version-check install uv
	$(COMPILE) --extra build --output-file requirements.lock
	$(COMPILE) --extra build --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean:  ## remove what was installed and built; state folders stay
	rm -rf $(VENV) .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# -- how it is done ----------------------------------------------------------------------------------------------------

# One lock for Python 3.11 to 3.13 on both processors, with no address of any index in it.
COMPILE = env -u PIP_FIND_LINKS -u UV_FIND_LINKS .cache/lock/bin/uv --cache-dir .cache/uv pip compile pyproject.toml \
	--quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock' $(ARGS)

developer: $(VENV)/developer

$(VENV)/installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo 'installing spotlightd into $(VENV)'
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/developer: requirements-dev.lock $(VENV)/installed
	@echo 'installing the tools of developers into $(VENV)'
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@touch $@

$(VENV)/bin/python:
	@test -n '$(PYTHON)' || { echo 'spotlightd needs Python 3.11, 3.12 or 3.13, and found none: apt-get install python3 python3-venv' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { test "$$(id -u)" = 0 && $(APT) update && $(APT) install --no-install-recommends python3-venv >/dev/null; } \
		|| { echo '$(PYTHON) cannot make virtual environments: apt-get install python3-venv, as root' >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)

# libatomic1 is what the driver of the browser needs and Debian's minimum does not have.
browser: developer
	@{ command -v chromium && $(VENV)/bin/playwright --version; } >/dev/null 2>&1 \
		|| { test "$$(id -u)" = 0 && $(APT) update && $(APT) install --no-install-recommends chromium fonts-dejavu-core libatomic1 >/dev/null; } \
		|| echo '*** no Chromium, and not root to install it: THE TESTS OF THE PAGES WILL BE SKIPPED (apt-get install chromium libatomic1) ***' >&2

# R for one test: it runs the line for R that a table of the explorer shows.
rscript: developer
	@command -v Rscript >/dev/null \
		|| { test "$$(id -u)" = 0 && $(APT) update && $(APT) install --no-install-recommends r-base-core >/dev/null; } \
		|| echo '*** no R, and not root to install it: ONE TEST OF THE PAGES WILL BE SKIPPED (apt-get install r-base-core) ***' >&2

# A real Kafka for the tests: its jars go to the user's cache, named by version.
kafka: developer
	@$(VENV)/bin/python -m tests.real.kafka

# A real MinIO for the tests: Go builds it, in minutes, into the user's cache. `ahead` begins that beside what comes first,
# and `stores` waits for it, or does it when there was nothing to begin with. SeaweedFS is a wheel of the developers' lock.
stores: developer
	@$(VENV)/bin/python -m tests.real.minio

# Prometheus, promtool, Alertmanager and the node exporter: Debian's packages, unpacked into the user's cache.
prometheus: developer
	@$(VENV)/bin/python -m tests.real.prometheus >/dev/null

ahead:
	@nohup $(or $(PYTHON),true) -m tests.real.minio </dev/null >/dev/null 2>&1 &
