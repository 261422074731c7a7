# tmac: exact ternary inference on the CPU you already own.
#
#   make deps       install the Debian packages this needs
#   make            build everything into build/bin
#   make demo       build, tune this machine on the 2B-4T shape, generate; MODEL=file for a real model
#   make demo-model  the model of models/ from its grammar, bit for bit; TWIN=1 its float twin too
#   make test       everything that must hold, in under 15 minutes on 2 cores
#   make fuzz       every parser of foreign bytes under libFuzzer, ASan and UBSan; FUZZ_RUNS=executions for each
#   make soak       a database of a million trials, eight writers for a minute
#   make bench-tuning  tunings repeated, their plans against each other: MODEL, FOLDER
#   make bench      kernels and tokens per second, next to what this host can do
#   make lint       clang-format, clang-tidy, cppcheck, and both compilers with warnings as errors
#   make test-aarch64  the same kernels and results on 64-bit Arm, cross-compiled and emulated
#   make test-numa  threads and weights on two memory nodes, emulated
#   make install    programs, libtmac, manual pages, completions: DESTDIR, PREFIX (default /usr/local); make uninstall
#   make dist       a source archive
#   make sanitize   the tests under ASan and UBSan, then under TSan
#   make clean
#
# V=1 shows the commands. CC=clang BUILD=build/clang builds with another compiler beside the first.

# As many jobs as there are processors, unless the command line says otherwise.
ifeq ($(MAKELEVEL)$(filter clean,$(MAKECMDGOALS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

BUILD   ?= build
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
V       ?= 0
Q       := $(if $(filter 1,$(V)),,@)
SAY     := $(if $(filter 1,$(V)),@true,@printf '  %-8s %s\n')

# CROSS=aarch64 builds for another processor than this one: NATIVE is the folder with a tmac-gen that runs here, SYSROOT
# the root folder of the other one's libraries. `make test-aarch64` sets all three.
ARCH     := $(or $(CROSS),$(shell uname -m))
NATIVE   ?= $(BUILD)

PACKAGES := lua5.4 sqlite3 libsodium jansson libpcre2-8 libutf8proc libedit $(if $(filter x86_64,$(ARCH)),libcpuid)
DEBIAN   := build-essential pkg-config liblua5.4-dev libsqlite3-dev libcriterion-dev \
            libsodium-dev libjansson-dev libpcre2-dev libutf8proc-dev libedit-dev libopenblas0-pthread \
            $(if $(filter x86_64,$(ARCH)),libcpuid-dev)

# No contraction anywhere: multiply-add is fused where the source says so and nowhere else.
WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
CFLAGS   ?= -O2 -g
# Kernels with sanitizers are not for speed, and are compiled in half the time without -O3.
KERNEL_CFLAGS := $(if $(SANITIZE),,-O3)
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE -I. $(WARNINGS) -ffp-contract=off -fPIC -fno-semantic-interposition -pthread $(CROSS:%=--sysroot=$(SYSROOT)) $(CFLAGS) $(SANITIZE)
LDFLAGS  ?=
LIBRARIES = $(if $(CROSS),-lsqlite3 -lsodium -ljansson -lpcre2-8 -lutf8proc -ledit -llua5.4,$(shell pkg-config --libs $(PACKAGES))) -lm -ldl -pthread

# Folders that become archives, in link order: each may use those after it.
ARCHIVED := $(if $(CROSS),,train) tune gen db convert kernels runtime base
PROGRAMS := $(patsubst cli/%.c,$(BUILD)/bin/%,$(filter-out $(CROSS:%=cli/tmac-gen.c) $(CROSS:%=cli/tmac-train.c),$(wildcard cli/tmac-*.c)))
ARCHIVES := $(ARCHIVED:%=$(BUILD)/lib/lib%.a)
GEN      := $(NATIVE)/bin/tmac-gen
# Shared by the programs: cli/*.c that are not programs themselves.
CLI_SHARED := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out $(wildcard cli/tmac-*.c cli/db_*.c),$(wildcard cli/*.c)))

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard $(1)/*.c))

.PHONY: all deps demo demo-model test test-kernels bench lint sanitize clean
.DELETE_ON_ERROR:
all: $(PROGRAMS)

# ------------------------------------------------------------------------------------------------ packages
# Every build starts here: on a fresh machine it installs what is missing.
SETUP := $(BUILD)/.setup
$(SETUP): Makefile
	$(Q)mkdir -p $(@D)
	$(Q)$(if $(CROSS),test -d $(SYSROOT),pkg-config --exists $(PACKAGES) criterion 2>/dev/null) || \
	    $(MAKE) --no-print-directory deps
	$(Q)touch $@

deps:
	$(Q)if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq $(DEBIAN); \
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo apt-get install -y -qq $(DEBIAN); \
	else printf 'Please run as root:\n\n  apt-get install %s\n\n' '$(DEBIAN)'; exit 1; fi

# ------------------------------------------------------------------------------------------------ objects
# The self-tests of instruction sets are compiled for the set they test; everything else for the baseline.
ifeq ($(ARCH),x86_64)
FLAGS_base/self_test_ssse3      := -mssse3
FLAGS_base/self_test_sse41      := -msse4.1
FLAGS_base/self_test_avx2       := -mavx2 -mfma -mf16c -mbmi2
FLAGS_base/self_test_avxvnni    := $(FLAGS_base/self_test_avx2) -mavxvnni
FLAGS_base/self_test_avx512bw   := $(FLAGS_base/self_test_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl
FLAGS_base/self_test_avx512vnni := $(FLAGS_base/self_test_avx512bw) -mavx512vnni
FLAGS_base/self_test_avx512vbmi := $(FLAGS_base/self_test_avx512vnni) -mavx512vbmi
FLAGS_base/self_test_avx512gfni := $(FLAGS_base/self_test_avx512vbmi) -mgfni
FLAGS_base/self_test_amx        := $(FLAGS_base/self_test_avx512vbmi) -mamx-tile -mamx-int8
else
FLAGS_base/self_test_dotprod    := -march=armv8.2-a+dotprod
FLAGS_base/self_test_i8mm       := -march=armv8.2-a+dotprod+i8mm
endif

# Objects are compiled again when the flags have changed.
FLAGS_NOW := $(ALL_CFLAGS)
FLAGS_FILE := $(BUILD)/.flags
$(FLAGS_FILE): $(if $(filter-out $(FLAGS_NOW),$(file <$(FLAGS_FILE)))$(filter-out $(file <$(FLAGS_FILE)),$(FLAGS_NOW)),always) | $(SETUP)
	$(Q)mkdir -p $(@D) && printf '%s\n' '$(FLAGS_NOW)' > $@
.PHONY: always
always:

$(BUILD)/obj/%.o: %.c $(FLAGS_FILE) | $(SETUP)
	$(SAY) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(FLAGS_$*) -MMD -MP -c $< -o $@

$(BUILD)/lib/lib%.a:
	$(SAY) AR $@
	$(Q)mkdir -p $(@D) && rm -f $@ && ar rcs $@ $^

$(BUILD)/lib/libbase.a:    $(call objects,base)
$(BUILD)/lib/libruntime.a: $(call objects,runtime)
$(BUILD)/lib/libconvert.a: $(call objects,convert)
$(BUILD)/lib/libdb.a:      $(call objects,db)
$(BUILD)/lib/libtune.a:    $(call objects,tune)
$(BUILD)/lib/libgen.a:     $(call objects,gen)
$(BUILD)/lib/libtrain.a:   $(call objects,train)

# Training: the passes once for each instruction set, and what they call.
FLAGS_train/passes_baseline := -O3 -fno-math-errno
ifeq ($(ARCH),x86_64)
FLAGS_train/passes_avx2     := $(FLAGS_train/passes_baseline) -mavx2 -mfma
FLAGS_train/passes_avx512bw := $(FLAGS_train/passes_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
endif
FLAGS_train/multiply := -O3
FLAGS_train/tell = $(shell pkg-config --cflags lua5.4)

# ------------------------------------------------------------------------------------------------ generator, kernels
# tmac-gen renders templates into $(BUILD)/kernels and writes kernels.mk beside them, which names the objects
# (KERNELS) and the flags of each (KERNEL_FLAGS_name).
# The headers are for kernels that tmac-tune compiles on a host.
EMBEDDED := $(wildcard templates/*.c gen/*.lua) base/isa.h base/status.h runtime/amx_tiles.h runtime/kernel.h \
            runtime/kernel_set.h
# The list is rewritten when a file is added, removed or changed: the assembler's inclusions leave no dependencies.
$(BUILD)/gen/gen_embedded.inc: $(EMBEDDED) templates gen
	$(Q)mkdir -p $(@D)
	$(Q)printf 'EMBED(%s, "%s")\n' $(foreach file,$(EMBEDDED),$(subst /,_,$(subst .,_,$(file))) $(file)) > $@
FLAGS_gen/embedded := -I$(BUILD)/gen
FLAGS_gen/generator = $(FLAGS_cli/chat_template)
FLAGS_cli/chat_template = $(if $(CROSS),-I$(SYSROOT)/usr/include/lua5.4,$(shell pkg-config --cflags lua5.4))
$(BUILD)/obj/gen/embedded.o: $(BUILD)/gen/gen_embedded.inc
ifndef CROSS
$(GEN): $(BUILD)/obj/cli/tmac-gen.o $(call objects,gen) $(BUILD)/lib/libbase.a
	$(SAY) LINK $@
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) $(LDFLAGS) -Wl,--as-needed -o $@ $^ $(LIBRARIES)
endif

$(BUILD)/kernels/kernels.mk: $(GEN)
	$(SAY) GEN $(@D)
	$(Q)$(GEN) $(CROSS:%=--arch %) --output $(@D) && touch $@

ifneq ($(filter-out clean deps lint sanitize dist,$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/kernels/kernels.mk
endif

COMPILER_ID := $(shell $(CC) --version | head -n 1)
$(BUILD)/kernels/%.o: $(BUILD)/kernels/%.c $(FLAGS_FILE)
	$(SAY) KERNEL $*
	$(Q)$(CC) $(ALL_CFLAGS) $(KERNEL_CFLAGS) $(KERNEL_FLAGS_$*) \
	    -DTMAC_KERNEL_COMPILER='"$(COMPILER_ID) $(strip $(CFLAGS) $(KERNEL_CFLAGS)) $(KERNEL_FLAGS_$*)"' -MMD -MP -c $< -o $@

$(BUILD)/lib/libkernels.a: $(KERNELS:%=$(BUILD)/kernels/%.o)

# ------------------------------------------------------------------------------------------------ programs
# tmac-db push and pull need PostgreSQL's library; without it they say so.
HUB := $(if $(CROSS),,$(shell pkg-config --exists libpq 2>/dev/null && echo yes))
FLAGS_cli/db_hub := $(if $(HUB),-DTMAC_HUB $(shell pkg-config --cflags libpq))
$(BUILD)/bin/tmac-db: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard cli/db_*.c))
$(BUILD)/bin/tmac-db: LIBRARIES += $(if $(HUB),$(shell pkg-config --libs libpq))
$(filter-out $(GEN),$(PROGRAMS)): $(BUILD)/bin/%: $(BUILD)/obj/cli/%.o $(CLI_SHARED) $(ARCHIVES)
	$(SAY) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -Wl,--as-needed -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBRARIES)

# ------------------------------------------------------------------------------------------------ tests
# tests/unit/*.c make one Criterion program, tests/check_kernels.c is the plain kernel checker.
# Criterion starts itself again for each test, which an emulated program cannot: there tests/plain stands in for it, and
# the tests of what depends on the processor run.
UNITS := $(if $(CROSS),floats head isa layouts pool,$(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*.c)))
ifdef CROSS
$(BUILD)/obj/tests/unit/%.o: ALL_CFLAGS += -Itests/plain
endif
$(BUILD)/tests/unit: $(UNITS:%=$(BUILD)/obj/tests/unit/%.o) $(ARCHIVES) \
    $(if $(CROSS),$(BUILD)/obj/tests/plain/main.o)
	$(SAY) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBRARIES) $(if $(CROSS),,-lcriterion)

$(BUILD)/tests/check-kernels: $(BUILD)/obj/tests/check_kernels.o $(ARCHIVES)
	$(SAY) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -Wl,--as-needed -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBRARIES)

# A generator of large databases, and several writers at once.
$(BUILD)/tests/fleet: $(BUILD)/obj/tests/fleet.o $(ARCHIVES)
	$(SAY) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -Wl,--as-needed -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBRARIES)

# A database in which kernels compiled on this host win.
$(BUILD)/tests/plant: $(BUILD)/obj/tests/plant.o $(ARCHIVES)
	$(SAY) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -Wl,--as-needed -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBRARIES)

# Which memory node a model's weights are in, and which their readers.
$(BUILD)/tests/places: $(BUILD)/obj/tests/places.o $(ARCHIVES)
	$(SAY) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -Wl,--as-needed -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBRARIES)

# Plans of several databases against each other, taking turns.
$(BUILD)/tests/race: $(BUILD)/obj/tests/race.o $(ARCHIVES)
	$(SAY) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -Wl,--as-needed -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBRARIES)

# What is too long for `make test`: a million trials of 100 hosts, eight writers for a minute.
.PHONY: soak
soak: all $(BUILD)/tests/fleet
	$(Q)BUILD=$(BUILD) bash tests/soak.sh

# Fuzz targets (tests/fuzz), one for each parser of foreign bytes. `make fuzz` gives each FUZZ_RUNS executions under
# ASan and UBSan, beginning with the committed corpus and what earlier runs found; `make test` replays the corpus.
FUZZ         := $(BUILD)/fuzz
FUZZ_CC      ?= clang
FUZZ_RUNS    ?= 100000
FUZZ_TARGETS := tm2 gguf llama2c bitllama edge folder safetensors vocabulary sentencepiece tokenizer_json text export
FUZZ_RUNTIME  = $(wildcard $(shell $(FUZZ_CC) -print-runtime-dir 2>/dev/null)/libclang_rt.fuzzer-*.a \
                $(shell $(FUZZ_CC) -print-resource-dir 2>/dev/null)/lib/linux/libclang_rt.fuzzer-*.a)
comma        := ,
FUZZ_WRAPPED := $(patsubst %,-Wl$(comma)--wrap=%,tmac_map_open tmac_map_close madvise json_load_file access stat)
FUZZ_OBJECTS := $(patsubst %,$(BUILD)/obj/tests/fuzz/%.o,input arena models folder vocabularies text export)
FUZZ_ARCHIVES := $(patsubst %,$(BUILD)/lib/lib%.a,db convert runtime base)

$(BUILD)/tests/replay: $(BUILD)/obj/tests/fuzz/replay.o $(FUZZ_OBJECTS) $(FUZZ_ARCHIVES)
	$(SAY) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(FUZZ_WRAPPED) -Wl,--as-needed -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(FUZZ_ARCHIVES) -Wl,--end-group $(LIBRARIES)

$(BUILD)/fuzz-%: tests/fuzz/entry.c $(FUZZ_OBJECTS) $(FUZZ_ARCHIVES)
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -DFUZZ_TARGET=fuzz_$* -fsanitize=fuzzer $(FUZZ_WRAPPED) -Wl,--as-needed -o $@ \
	    $(filter %.c %.o,$^) -Wl,--start-group $(FUZZ_ARCHIVES) -Wl,--end-group $(LIBRARIES)

.PHONY: fuzz fuzz-programs fuzz-corpus
fuzz-programs: $(FUZZ_TARGETS:%=$(BUILD)/fuzz-%)
fuzz:
	$(Q)if [ -z '$(FUZZ_RUNTIME)' ]; then \
	    echo 'make fuzz: skipped: no libFuzzer here (on Debian: apt-get install clang libclang-rt-14-dev)'; exit 0; fi; \
	$(MAKE) --no-print-directory BUILD=$(FUZZ) CC='$(FUZZ_CC)' CFLAGS='-O2 -g' \
	    SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fsanitize-trap=undefined -fno-omit-frame-pointer' \
	    fuzz-programs && \
	FUZZ=$(FUZZ) FUZZ_RUNS=$(FUZZ_RUNS) bash tests/fuzz/run.sh $(FUZZ_TARGETS)

# Writes tests/fuzz/corpus anew.
fuzz-corpus: all
	$(Q)BUILD=$(BUILD) bash tests/fuzz/seeds.sh

# The amx kernels' own text with emulated tile instructions, under the same checker: linked before the archive, these
# objects take the place of the real ones.
$(BUILD)/kernels/emulated/%.o: $(BUILD)/kernels/%.c $(FLAGS_FILE)
	$(SAY) EMULATE $*
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -O3 $(filter-out -mamx%,$(KERNEL_FLAGS_$*)) -DTMAC_AMX_EMULATED \
	    -DTMAC_KERNEL_COMPILER='"$(COMPILER_ID) $(CFLAGS) emulated"' -MMD -MP -c $< -o $@

$(BUILD)/tests/check-kernels-amx: $(BUILD)/obj/tests/check_kernels.o \
    $(patsubst %,$(BUILD)/kernels/emulated/%.o,$(filter %_amx,$(KERNELS))) $(ARCHIVES)
	$(SAY) LINK $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -Wl,--as-needed -o $@ $(filter %.o,$^) \
	    -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBRARIES)

# What must hold everywhere, in under 15 minutes on 2 cores. The second half repeats the parts that touch foreign bytes
# and vector loads under ASan and UBSan, with a reduced variant table.
SANITIZED := $(BUILD)/sanitized
UBSAN     := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

test: all library $(BUILD)/tests/unit $(BUILD)/tests/replay $(BUILD)/tests/fleet $(BUILD)/tests/plant $(BUILD)/tests/check-kernels $(BUILD)/tests/check-kernels-amx
	$(Q)$(MAKE) --no-print-directory BUILD=$(SANITIZED) SANITIZE='$(UBSAN)' CFLAGS='-O1 -g' test-programs
	$(Q)! $(AARCH64_READY) || ! $(MAKE) --no-print-directory $(AARCH64)/sysroot/.complete || \
	    $(MAKE) --no-print-directory aarch64-programs # skipped where its libraries cannot be fetched
	$(Q)BUILD=$(BUILD) SANITIZED=$(SANITIZED) bash tests/run.sh

.PHONY: test-programs
test-programs: all $(BUILD)/tests/unit $(BUILD)/tests/check-kernels \
    $(if $(CROSS),,$(BUILD)/tests/fleet $(BUILD)/tests/replay $(BUILD)/tests/plant)

# The programs and the kernels for 64-bit Arm, cross-compiled and run by an emulator of its processors: Debian's cross
# compiler and qemu-user, and arm64 libraries unpacked into the build folder.
AARCH64       := $(BUILD)/aarch64
AARCH64_CC    := aarch64-linux-gnu-gcc
AARCH64_READY  = { command -v $(AARCH64_CC) && command -v qemu-aarch64; } >/dev/null
.PHONY: test-aarch64 aarch64-programs
test-aarch64: all
	$(Q)$(AARCH64_READY) || \
	    $(MAKE) --no-print-directory DEBIAN='gcc-aarch64-linux-gnu qemu-user' deps
	$(Q)$(MAKE) --no-print-directory aarch64-programs
	$(Q)BUILD=$(BUILD) TMAC_DATA=$${TMAC_DATA:-../shared/data} bash tests/e2e/aarch64.sh

aarch64-programs: $(AARCH64)/sysroot/.complete $(GEN)
	$(Q)$(MAKE) --no-print-directory CROSS=aarch64 CC=$(AARCH64_CC) BUILD=$(AARCH64) NATIVE=$(BUILD) \
	    SYSROOT=$(AARCH64)/sysroot test-programs

$(AARCH64)/sysroot/.complete: tests/aarch64_sysroot.sh
	$(SAY) SYSROOT $(@D)
	$(Q)rm -rf $(@D) && bash $< $(@D) && touch $@

# Two memory nodes under qemu-system-x86_64.
.PHONY: test-numa
test-numa: all $(BUILD)/tests/places
	$(Q)BUILD=$(BUILD) bash tests/numa.sh

# Every kernel on at least 10,000 problems, those for AMX with emulated tiles.
test-kernels: $(BUILD)/tests/check-kernels $(BUILD)/tests/check-kernels-amx
	$(Q)$(BUILD)/tests/check-kernels --problems 10000
	$(Q)$(BUILD)/tests/check-kernels-amx --emulated amx --filter _amx_ --problems 10000

# Everything under ASan and UBSan, then what uses threads under TSan.
sanitize:
	$(Q)$(MAKE) --no-print-directory BUILD=$(SANITIZED) SANITIZE='$(UBSAN)' CFLAGS='-O1 -g' test-programs
	$(Q)BUILD=$(SANITIZED) bash tests/run.sh
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan SANITIZE='-fsanitize=thread' CFLAGS='-O1 -g' test-programs
	$(Q)BUILD=$(BUILD)/tsan TSAN_OPTIONS=halt_on_error=1 bash tests/run.sh threads

# ------------------------------------------------------------------------------------------------ demo, bench, lint
demo: all
	$(Q)BUILD=$(BUILD) MODEL='$(MODEL)' TOKENIZER='$(TOKENIZER)' PROMPT='$(PROMPT)' bash cli/demo.sh

demo-model: all
	$(Q)BUILD=$(BUILD) TWIN='$(TWIN)' bash models/rebuild.sh

.PHONY: bench-tuning
bench-tuning: all $(BUILD)/tests/race
	$(Q)BUILD=$(BUILD) $(if $(MODEL),MODEL='$(MODEL)') bash tests/repeat_tuning.sh '$(or $(FOLDER),$(BUILD)/tunings)'

bench: all
	$(Q)BUILD=$(BUILD) CC='$(CC)' bash tests/bench.sh

SOURCES := $(wildcard base/*.[ch] gen/*.[ch] runtime/*.[ch] db/*.[ch] tune/*.[ch] convert/*.[ch] train/*.[ch] cli/*.[ch] tests/*.[ch] tests/unit/*.[ch] tests/plain/*.c tests/fuzz/*.[ch] examples/*.c)
LINTED  := $(filter %.c,$(filter-out base/self_test_% tests/fuzz/entry.c examples/%,$(SOURCES)))
lint:
	$(SAY) FORMAT
	$(Q)clang-format --dry-run -Werror $(SOURCES)
	$(SAY) CLANG
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/clang test-programs
	$(SAY) TIDY
	$(Q)clang-tidy --quiet $(LINTED) -- -std=c17 -D_GNU_SOURCE -I. -I$(BUILD)/clang/gen \
	    $(shell pkg-config --cflags lua5.4 2>/dev/null) 2>/dev/null
	$(SAY) CPPCHECK
	$(Q)cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	    --suppress=missingIncludeSystem --suppress=invalidPointerCast --suppress=returnDanglingLifetime -I. -D__x86_64__ $(filter-out tests/unit/%,$(LINTED))

# ------------------------------------------------------------------------------------------------ install, dist
# libtmac: base, runtime, convert and the kernels. The shared library shows what the installed headers declare, and
# nothing else. Programs are linked statically with all of it and need no libtmac.so.
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION := $(shell sed -n 's/^.define TMAC_VERSION "\(.*\)"/\1/p' base/version.h)
SONAME  := libtmac.so.$(firstword $(subst ., ,$(VERSION)))
LIBRARY_HEADERS := $(patsubst %,base/%.h,status file isa pool version) \
                   $(patsubst %,runtime/%.h,tmac plan source chat) convert/convert.h
LIBRARY_OBJECTS = $(call objects,base) $(call objects,runtime) $(call objects,convert) $(KERNELS:%=$(BUILD)/kernels/%.o)
LIBRARY_NEEDS   := jansson libpcre2-8 libutf8proc libsodium $(if $(filter x86_64,$(ARCH)),libcpuid)
MANUALS         := $(wildcard docs/man/*.1)
DOCUMENTS       := README.md $(wildcard docs/*.md)

$(BUILD)/lib/libtmac.a: $(LIBRARY_OBJECTS)
$(BUILD)/lib/libtmac.map: $(LIBRARY_HEADERS)
	$(Q)mkdir -p $(@D)
	$(Q){ echo '{ global:'; sed 's,//.*,,' $^ | grep -oE '\btmac_[a-z0-9_]+ *(\(|\[|;)' | grep -oE 'tmac_[a-z0-9_]+' | sort -u | sed 's/$$/;/'; \
	    echo 'local: *; };'; } > $@
$(BUILD)/lib/libtmac.so.$(VERSION): $(LIBRARY_OBJECTS) $(BUILD)/lib/libtmac.map
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=$(BUILD)/lib/libtmac.map \
	    -Wl,--as-needed -Wl,-z,defs -o $@ $(LIBRARY_OBJECTS) $(shell pkg-config --libs $(LIBRARY_NEEDS)) -lm -ldl -pthread
$(BUILD)/lib/tmac.h:
	$(Q)mkdir -p $(@D)
	$(Q)printf '// Everything of libtmac.\n#include "convert/convert.h"\n#include "runtime/chat.h"\n#include "runtime/tmac.h"\n' > $@
$(BUILD)/completions/%: $(BUILD)/bin/% cli/completion.sh
	$(Q)mkdir -p $(@D) && bash cli/completion.sh $< > $@

INSTALLED := $(PROGRAMS) $(BUILD)/lib/libtmac.a $(BUILD)/lib/libtmac.so.$(VERSION) $(BUILD)/lib/tmac.h \
             $(patsubst $(BUILD)/bin/%,$(BUILD)/completions/%,$(PROGRAMS))
INSTALL   := $(DESTDIR)$(PREFIX)
.PHONY: install uninstall dist library
library: $(INSTALLED)
install: library
	$(SAY) INSTALL $(INSTALL)
	$(Q)install -d $(INSTALL)/bin $(INSTALL)/lib/pkgconfig $(INSTALL)/share/man/man1 $(INSTALL)/share/doc/tmac/examples \
	    $(INSTALL)/share/bash-completion/completions $(addprefix $(INSTALL)/include/tmac/,base runtime convert)
	$(Q)install -m 755 $(PROGRAMS) $(INSTALL)/bin
	$(Q)install -m 644 $(BUILD)/lib/libtmac.a $(INSTALL)/lib
	$(Q)install -m 755 $(BUILD)/lib/libtmac.so.$(VERSION) $(INSTALL)/lib
	$(Q)ln -sf libtmac.so.$(VERSION) $(INSTALL)/lib/$(SONAME) && ln -sf $(SONAME) $(INSTALL)/lib/libtmac.so
	$(Q)install -m 644 $(BUILD)/lib/tmac.h $(INSTALL)/include/tmac
	$(Q)for header in $(LIBRARY_HEADERS); do install -m 644 $$header $(INSTALL)/include/tmac/$$header; done
	$(Q)install -m 644 $(MANUALS) $(INSTALL)/share/man/man1
	$(Q)install -m 644 $(BUILD)/completions/* $(INSTALL)/share/bash-completion/completions
	$(Q)install -m 644 $(DOCUMENTS) $(INSTALL)/share/doc/tmac
	$(Q)install -m 644 examples/*.c $(INSTALL)/share/doc/tmac/examples
	$(Q)printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' 'Name: tmac' \
	    'Description: Exact inference of ternary language models on CPUs' 'Version: $(VERSION)' \
	    'Requires.private: $(LIBRARY_NEEDS)' 'Libs: -L$${libdir} -ltmac' 'Libs.private: -lm -ldl -pthread' \
	    'Cflags: -I$${includedir}/tmac' > $(INSTALL)/lib/pkgconfig/tmac.pc

uninstall:
	$(SAY) REMOVE $(INSTALL)
	$(Q)rm -f $(patsubst $(BUILD)/bin/%,$(INSTALL)/bin/%,$(PROGRAMS)) $(patsubst docs/man/%,$(INSTALL)/share/man/man1/%,$(MANUALS)) \
	    $(patsubst $(BUILD)/bin/%,$(INSTALL)/share/bash-completion/completions/%,$(PROGRAMS)) \
	    $(INSTALL)/lib/libtmac.a $(INSTALL)/lib/libtmac.so $(INSTALL)/lib/$(SONAME) $(INSTALL)/lib/libtmac.so.$(VERSION) \
	    $(INSTALL)/lib/pkgconfig/tmac.pc
	$(Q)rm -rf $(INSTALL)/include/tmac $(INSTALL)/share/doc/tmac

# The last commit; where there is no git, the tree without what was built. The same tree gives the same file.
DIST := tmac-$(VERSION)
dist:
	$(SAY) DIST $(BUILD)/$(DIST).tar.gz
	$(Q)mkdir -p $(BUILD)
	$(Q)if git rev-parse --verify -q HEAD >/dev/null 2>&1; then git archive --format=tar --prefix=$(DIST)/ HEAD; \
	    else tar -c --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --exclude='./$(BUILD)' --exclude=./.git \
	        --transform='s,^\.,$(DIST),' .; fi | gzip -n9 > $(BUILD)/$(DIST).tar.gz

clean:
	$(Q)rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' -type f 2>/dev/null)
