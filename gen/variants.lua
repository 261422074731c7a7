-- THE table of variants. Code, registry, tests, benchmark and manifest follow from it. gen/README.md says how to add
-- to it.

local variants = {}

-- Instruction sets: the name and the order of base/isa.h, the compiler flags, the architecture that has it,
-- the bytes of its vectors.
local avx2 = "-mavx2 -mfma -mf16c -mbmi2"
local avx512bw = avx2 .. " -mavx512f -mavx512bw -mavx512dq -mavx512vl"
local avx512vnni = avx512bw .. " -mavx512vnni"
local avx512vbmi = avx512vnni .. " -mavx512vbmi"
variants.isas = {
    { name = "scalar",     enum = "TMAC_ISA_SCALAR",     arch = "any",    flags = "" },
    { name = "ssse3",      enum = "TMAC_ISA_SSSE3",      arch = "x86_64", flags = "-mssse3", bytes = 16 },
    { name = "sse41",      enum = "TMAC_ISA_SSE41",      arch = "x86_64", flags = "-msse4.1", bytes = 16 },
    { name = "avx2",       enum = "TMAC_ISA_AVX2",       arch = "x86_64", flags = avx2, bytes = 32 },
    { name = "avxvnni",    enum = "TMAC_ISA_AVXVNNI",    arch = "x86_64", flags = avx2 .. " -mavxvnni", bytes = 32 },
    { name = "avx512bw",   enum = "TMAC_ISA_AVX512BW",   arch = "x86_64", flags = avx512bw, bytes = 64 },
    { name = "avx512vnni", enum = "TMAC_ISA_AVX512VNNI", arch = "x86_64", flags = avx512vnni, bytes = 64 },
    { name = "avx512vbmi", enum = "TMAC_ISA_AVX512VBMI", arch = "x86_64", flags = avx512vbmi, bytes = 64 },
    { name = "avx512gfni", enum = "TMAC_ISA_AVX512GFNI", arch = "x86_64", flags = avx512vbmi .. " -mgfni", bytes = 64 },
    { name = "amx",        enum = "TMAC_ISA_AMX",        arch = "x86_64",
      flags = avx512vbmi .. " -mgfni -mamx-tile -mamx-int8", bytes = 64 },
    { name = "neon",       enum = "TMAC_ISA_NEON",       arch = "aarch64", flags = "-march=armv8-a", bytes = 16 },
    { name = "dotprod",    enum = "TMAC_ISA_DOTPROD",    arch = "aarch64", flags = "-march=armv8.2-a+dotprod", bytes = 16 },
    { name = "i8mm",       enum = "TMAC_ISA_I8MM",       arch = "aarch64", flags = "-march=armv8.2-a+dotprod+i8mm", bytes = 16 },
}

-- Layouts: template templates/layout_FAMILY.c; one layout per row tile, named FAMILY_rROWS.
variants.layouts = {
    { family = "mad2", code_length = 16, rows = { 16, 32, 64, 128 } },
    { family = "lut5", code_length = 5,  rows = { 64, 128, 256, 512 } },
    { family = "lut3", code_length = 6,  rows = { 32, 64, 128 } },
    { family = "lut2", code_length = 4,  rows = { 32, 64 } },
}

-- Kernels: template templates/FAMILY_ISA.c, or `template` where several instruction sets share one; one kernel per
-- combination of each line's axes, named FAMILY_ISA_rROWS_nTOKENS_pPREFETCH. From tokens_min tokens at once on a line's
-- kernels pay, so that plan and tuner consider them; without it, from `tokens` on. Any number works.
--   rows      rows per tile: the layout the kernel reads
--   tokens    tokens whose sums are held in registers together, while weights are loaded and decoded once
--   prefetch  bytes ahead of the weights being read at which they are fetched into the second-level cache; from there
--             they come into the first `near` bytes ahead. At `near` there is only that; 0 leaves all to the hardware.
--             (Streaming on a Xeon of family 6, model 207: none 11, near alone 13, both 16.5 GB/s of 17.)
-- A line's `span` lets workers share a tile, in multiples of so many rows.
variants.near = 4096
local ahead = { 0, 4096, 16384, 65536 }
variants.kernels = {
    { family = "mad2", isa = "scalar", preparation = "bytes16",
      axes = { { rows = { 16, 32, 64, 128 }, tokens = { 1 }, prefetch = { 0 } } } },
    { family = "mad2", isa = "avx2", template = "mad2_maddubs", preparation = "bytes16",
      axes = { { rows = { 16, 32 }, tokens = { 1 }, prefetch = ahead },
               { rows = { 16 }, tokens = { 2, 3 }, prefetch = { 0, 16384 } } } },
    { family = "mad2", isa = "sse41", template = "mad2_maddubs", preparation = "bytes16",
      axes = { { rows = { 16 }, tokens = { 1 }, prefetch = { 0, 16384 } },
               { rows = { 16 }, tokens = { 2 }, prefetch = { 0 } } } },
    { family = "mad2", isa = "avxvnni", template = "mad2_dpbusd", preparation = "bytes16",
      axes = { { rows = { 16, 32, 64 }, tokens = { 1 }, prefetch = { 0, 16384 } },
               { rows = { 16 }, tokens = { 4 }, prefetch = { 0 } },
               { rows = { 32 }, tokens = { 2 }, prefetch = { 0, 16384 } } } },
    { family = "mad2", isa = "avx512bw", template = "mad2_maddubs", preparation = "bytes16",
      axes = { { rows = { 16, 32, 64 }, tokens = { 1 }, prefetch = { 0, 16384 } },
               { rows = { 32, 64 }, tokens = { 4 }, prefetch = { 0 } } } },
    { family = "mad2", isa = "avx512vnni", template = "mad2_dpbusd", preparation = "bytes16",
      axes = { { rows = { 16, 32, 64, 128 }, tokens = { 1 }, prefetch = ahead },
               { rows = { 32, 64 }, tokens = { 4 }, prefetch = { 0, 8192 } },
               { rows = { 16 }, tokens = { 8 }, prefetch = { 0 } },
               { rows = { 128 }, tokens = { 2 }, prefetch = { 0 } } } },
    { family = "lut5", isa = "scalar", preparation = "lut5",
      axes = { { rows = { 64, 128, 256, 512 }, tokens = { 1 }, prefetch = { 0 } } } },
    { family = "lut5", isa = "avx512gfni", template = "lut5_vpermi2b", preparation = "lut5", span = 128,
      axes = { { rows = { 64, 128 }, tokens = { 1 }, prefetch = { 0, 16384 } },
               { rows = { 256, 512 }, tokens = { 1 }, prefetch = ahead },
               { rows = { 128 }, tokens = { 2 }, prefetch = { 0, 8192 } },
               { rows = { 64 }, tokens = { 4 }, prefetch = { 0 } } } },
    { family = "lut5", isa = "avx512vbmi", template = "lut5_vpermi2b", preparation = "lut5", span = 128,
      axes = { { rows = { 128 }, tokens = { 1, 2 }, prefetch = { 0, 16384 } },
               { rows = { 256, 512 }, tokens = { 1 }, prefetch = ahead } } },
    -- Many tokens: a panel of weights is decoded once for all of them.
    { family = "lut5", isa = "avx512vbmi", method = "panel", template = "panel", preparation = "bytes20", span = 128,
      axes = { { rows = { 64, 128, 256, 512 }, tokens = { 4 }, prefetch = { 0, 16384 } } } },
    { family = "lut5", isa = "amx", template = "panel", tokens_min = 4, preparation = "bytes20", span = 128,
      axes = { { rows = { 64, 128, 256, 512 }, tokens = { 16 }, prefetch = { 0, 16384 } } } },
    { family = "mad2", isa = "avx512vnni", method = "panel", template = "panel", preparation = "bytes16",
      tokens_min = 8, axes = { { rows = { 32, 64, 128 }, tokens = { 4 }, prefetch = { 0, 16384 } } } },
    { family = "mad2", isa = "amx", template = "panel", tokens_min = 4, preparation = "bytes16",
      axes = { { rows = { 16, 32, 64, 128 }, tokens = { 16 }, prefetch = { 0, 16384 } } } },
    { family = "lut3", isa = "scalar", preparation = "lut3",
      axes = { { rows = { 32, 64, 128 }, tokens = { 1 }, prefetch = { 0 } } } },
    { family = "lut3", isa = "ssse3", template = "lut3_pshufb", preparation = "lut3",
      axes = { { rows = { 32, 64 }, tokens = { 1 }, prefetch = { 0, 16384 } } } },
    { family = "lut3", isa = "avx2", template = "lut3_pshufb", preparation = "lut3",
      axes = { { rows = { 32, 64, 128 }, tokens = { 1 }, prefetch = ahead },
               { rows = { 32 }, tokens = { 2, 4 }, prefetch = { 0, 16384 } },
               { rows = { 64 }, tokens = { 2 }, prefetch = { 0, 16384 } } } },
    { family = "lut2", isa = "scalar", preparation = "lut2",
      axes = { { rows = { 32, 64 }, tokens = { 1 }, prefetch = { 0 } } } },
    { family = "lut2", isa = "ssse3", template = "lut2_pshufb", preparation = "lut2",
      axes = { { rows = { 32, 64 }, tokens = { 1 }, prefetch = { 0, 16384 } } } },
    { family = "lut2", isa = "avx2", template = "lut2_pshufb", preparation = "lut2",
      axes = { { rows = { 32, 64 }, tokens = { 1 }, prefetch = ahead },
               { rows = { 32 }, tokens = { 2 }, prefetch = { 0, 16384 } } } },
    { family = "mad2", isa = "neon", preparation = "bytes16",
      axes = { { rows = { 16, 32 }, tokens = { 1 }, prefetch = { 0, 4096, 16384 } },
               { rows = { 16 }, tokens = { 2 }, prefetch = { 0, 16384 } } } },
    { family = "mad2", isa = "dotprod", preparation = "bytes16",
      axes = { { rows = { 16, 32 }, tokens = { 1 }, prefetch = { 0, 4096, 16384 } },
               { rows = { 16 }, tokens = { 4 }, prefetch = { 0, 16384 } },
               { rows = { 32 }, tokens = { 2 }, prefetch = { 0 } } } },
    { family = "mad2", isa = "i8mm", preparation = "bytes16",
      axes = { { rows = { 16 }, tokens = { 2, 4, 16 }, prefetch = { 0, 16384 } } } },
    { family = "lut3", isa = "neon", preparation = "lut3",
      axes = { { rows = { 32, 64 }, tokens = { 1 }, prefetch = { 0, 4096, 16384 } },
               { rows = { 32 }, tokens = { 2 }, prefetch = { 0, 16384 } } } },
    { family = "lut2", isa = "neon", preparation = "lut2",
      axes = { { rows = { 32, 64 }, tokens = { 1 }, prefetch = { 0, 4096, 16384 } },
               { rows = { 32 }, tokens = { 2 }, prefetch = { 0 } } } },
}

-- Weights of 1 to 4 bits: bit planes for lookup, and multiply-add. The templates serve every width, which is part of the
-- names: bits4_avx2_r32_n1_p0. As many rows as leave the sums of all planes in registers.
local none, some = { 0 }, { 0, 16384 }
for bits = 1, 4 do
    local function layout(family, code_length, rows)
        table.insert(variants.layouts, { family = family, bits = bits, code_length = code_length, rows = rows })
    end
    local function kernels(family, isa, preparation, axes, template)
        table.insert(variants.kernels, { family = family, bits = bits, isa = isa, preparation = preparation,
                                         template = template, axes = axes })
    end
    layout("bits", 8, { 32, 64, 128 })
    layout("madq", 32, { 16, 32, 64 })
    kernels("bits", "scalar", "bits", { { rows = { 32, 64, 128 }, tokens = { 1 }, prefetch = none } })
    kernels("bits", "avx2", "bits", {
        { rows = bits <= 2 and { 32, 64 } or { 32 }, tokens = { 1 }, prefetch = some },
        bits <= 2 and { rows = { 32 }, tokens = { 2 }, prefetch = none } or nil }, "bits_pshufb")
    kernels("bits", "avx512bw", "bits", {
        { rows = { 64, 128 }, tokens = { 1 }, prefetch = some },
        { rows = { 64 }, tokens = { 2 }, prefetch = none } }, "bits_pshufb")
    kernels("bits", "neon", "bits", {
        { rows = bits <= 2 and { 32, 64 } or { 32 }, tokens = { 1 }, prefetch = some },
        bits <= 2 and { rows = { 32 }, tokens = { 2 }, prefetch = none } or nil })
    kernels("madq", "scalar", "bytes32", { { rows = { 16, 32, 64 }, tokens = { 1 }, prefetch = none } })
    kernels("madq", "avx2", "bytes32", {
        { rows = { 16, 32 }, tokens = { 1 }, prefetch = some },
        { rows = { 16 }, tokens = { 2 }, prefetch = none } })
    kernels("madq", "avx512vnni", "bytes32", {
        { rows = { 16, 32, 64 }, tokens = { 1 }, prefetch = some },
        { rows = { 32, 64 }, tokens = { 4 }, prefetch = none } })
    kernels("madq", "neon", "bytes32", { { rows = { 16 }, tokens = { 1 }, prefetch = some } }, "madq_arm")
    kernels("madq", "dotprod", "bytes32", {
        { rows = { 16, 32 }, tokens = { 1 }, prefetch = some },
        { rows = { 16 }, tokens = { 4 }, prefetch = none } }, "madq_arm")
end

-- Plain units: a template rendered once per instruction set, without kernels: file NAME_ISA.c.
variants.plain = {
    { name = "floats", isas = { "scalar", "avx2", "avx512bw", "neon" } },
    { name = "head", isas = { "scalar", "avx2", "avx512bw", "avx512vnni", "neon", "dotprod" } },
}

return variants
