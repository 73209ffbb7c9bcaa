# A thin door to CMake's presets: `make help` says what there is. Everything is built under build/<preset>/.

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
FUZZ_SECONDS ?= 5
FUZZ ?=
WORDS ?=
DESTDIR ?=
PREFIX ?= /usr/local

.DEFAULT_GOAL := all
.PHONY: all dev test demo demo-vision asan tsan fuzz interop bench install clean help setup

all: ## build the release: library, program, tests
all: build-release

setup: ## install the Debian packages that are missing (says which)
	@tools/setup

build-%: setup | build
	@cmake --preset $* $(if $(DT_WERROR),-DDT_WERROR=ON) > build/$*.log 2>&1 || { cat build/$*.log; exit 1; }
	@cmake --build --preset $* -j $(JOBS)

build:
	@mkdir -p build

dev: ## build for debugging
dev: build-dev

test: ## build and run the whole test suite
test: build-release
	@ctest --preset release -j $(JOBS)

demo: ## pronounce words with a small trained T5, verify it, convert it; WORDS="…" for your own
demo: build-release
	@WORDS="$(WORDS)" tools/demo build/release

demo-vision: ## read ten thousand digits with a small trained ViT, and draw those it gets wrong
demo-vision: build-release
	@mkdir -p build/demo-vision
	@build/release/examples/vit-mnist examples/vit-mnist/vit_mnist_gpu.pt examples/vit-mnist/mnist build/demo-vision/mistakes.png

asan: ## run the suite under AddressSanitizer and UndefinedBehaviorSanitizer
asan: build-asan
	@ctest --preset asan -j $(JOBS)

tsan: ## run the thread tests under ThreadSanitizer
tsan: build-tsan
	@ctest --preset tsan -j $(JOBS)

fuzz: ## run each fuzz target for FUZZ_SECONDS; FUZZ="json zip" for some of them
fuzz:
	@tools/setup ci
	@$(MAKE) --no-print-directory build-fuzz
	@tools/fuzz build/fuzz $(FUZZ_SECONDS) $(FUZZ)

interop: ## let torch, megatron-core and transformers load what we write (makes a Python environment under build/; optional)
interop: build-release
	@tools/interop/setup build/interop
	@tools/interop/run build/release build/interop

bench: ## measure this machine's peak, then drivetrain against it
bench: build-release
	@tools/bench build/release

install: ## install under PREFIX (/usr/local); honours DESTDIR
install: build-release
	@cmake --install build/release --prefix $(PREFIX)

clean: ## remove everything that was built
	rm -rf build

help: ## this list
	@awk -F ': ## ' '/^[a-z-]+: ## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
