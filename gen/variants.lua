-- THE table of variants. Code, registry, tests, benchmark and manifest follow from it. gen/README.md says how to add
-- to it.

local variants = {}

-- Instruction sets: the name and the order of base/isa.h, the compiler flags, the architecture that has it.
local avx2 = "-mavx2 -mfma -mf16c -mbmi2"
local avx512vnni = avx2 .. " -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
variants.isas = {
    { name = "scalar",     enum = "TMAC_ISA_SCALAR",     arch = "any",    flags = "" },
    { name = "avx2",       enum = "TMAC_ISA_AVX2",       arch = "x86_64", flags = avx2 },
    { name = "avx512vnni", enum = "TMAC_ISA_AVX512VNNI", arch = "x86_64", flags = avx512vnni },
    { name = "avx512vbmi", enum = "TMAC_ISA_AVX512VBMI", arch = "x86_64",
      flags = avx512vnni .. " -mavx512vbmi -mgfni" },
}

-- Layouts: template templates/layout_FAMILY.c; one layout per row tile, named FAMILY_rROWS.
variants.layouts = {
    { family = "mad2", code_length = 16, rows = { 16, 32, 64, 128 } },
    { family = "lut5", code_length = 5,  rows = { 64, 128, 256, 512 } },
    { family = "lut2", code_length = 4,  rows = { 32, 64 } },
}

-- Kernels: template templates/FAMILY_ISA.c; one kernel per combination of each line's axes, named
-- FAMILY_ISA_rROWS_nTOKENS_pPREFETCH.
--   rows      rows per tile: the layout the kernel reads
--   tokens    tokens whose sums are held in registers together, while weights are loaded and decoded once
--   prefetch  bytes ahead of the weights being read at which they are fetched into the second-level cache; from there
--             they come into the first `near` bytes ahead. At `near` there is only that; 0 leaves all to the hardware.
--             (Streaming on a Xeon of family 6, model 207: none 11, near alone 13, both 16.5 GB/s of 17.)
variants.near = 2048
local ahead = { 0, 2048, 4096, 16384 }
variants.kernels = {
    { family = "mad2", isa = "scalar", preparation = "bytes16",
      axes = { { rows = { 16, 32, 64, 128 }, tokens = { 1 }, prefetch = { 0 } } } },
    { family = "mad2", isa = "avx2", preparation = "bytes16",
      axes = { { rows = { 16, 32 }, tokens = { 1 }, prefetch = ahead },
               { rows = { 16 }, tokens = { 2, 3 }, prefetch = { 0, 4096 } } } },
    { family = "mad2", isa = "avx512vnni", preparation = "bytes16",
      axes = { { rows = { 16, 32, 64, 128 }, tokens = { 1 }, prefetch = ahead },
               { rows = { 32, 64 }, tokens = { 4 }, prefetch = { 0, 8192 } },
               { rows = { 16 }, tokens = { 8 }, prefetch = { 0 } },
               { rows = { 128 }, tokens = { 2 }, prefetch = { 0 } } } },
    { family = "lut5", isa = "scalar", preparation = "lut5",
      axes = { { rows = { 64, 128, 256, 512 }, tokens = { 1 }, prefetch = { 0 } } } },
    { family = "lut5", isa = "avx512vbmi", preparation = "lut5",
      axes = { { rows = { 64, 128 }, tokens = { 1 }, prefetch = { 0, 4096 } },
               { rows = { 256, 512 }, tokens = { 1 }, prefetch = ahead },
               { rows = { 128 }, tokens = { 2 }, prefetch = { 0, 8192 } },
               { rows = { 64 }, tokens = { 4 }, prefetch = { 0 } } } },
    { family = "lut2", isa = "scalar", preparation = "lut2",
      axes = { { rows = { 32, 64 }, tokens = { 1 }, prefetch = { 0 } } } },
    { family = "lut2", isa = "avx2", preparation = "lut2",
      axes = { { rows = { 32, 64 }, tokens = { 1 }, prefetch = ahead },
               { rows = { 32 }, tokens = { 2 }, prefetch = { 0, 4096 } } } },
}

-- Plain units: a template rendered once per instruction set, without kernels: file NAME_ISA.c.
variants.plain = {
    { name = "floats", isas = { "scalar", "avx2", "avx512vnni" } },
    { name = "head", isas = { "scalar", "avx2", "avx512vnni" } },
}

return variants
