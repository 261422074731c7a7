% local bits = isa.bytes * 8
% local p = bits == 128 and "_mm" or "_mm" .. bits
% local si = bits == 512 and "si512" or "si" .. bits
% local type = ("__m%di"):format(bits)
// Vectors of ${isa.bytes} bytes, in the words of ${isa.name}. Loads and stores are aligned.
typedef ${type} vector;
% local function load(name) return bits == 512 and name or ("(const %s *)%s"):format(type, name) end

static inline vector vector_load(const void *from)
{
    return ${p}_load_${si}(${load("from")});
}

static inline void vector_store(void *to, vector x)
{
    ${p}_store_${si}(${bits == 512 and "to" or ("(%s *)to"):format(type)}, x);
}

% local operations = {
%     { "vector_zero", "void", p .. "_setzero_" .. si .. "()" },
%     { "vector_set8", "int8_t x", p .. "_set1_epi8(x)" },
%     { "vector_set16", "int16_t x", p .. "_set1_epi16(x)" },
%     { "vector_set32", "int32_t x", p .. "_set1_epi32(x)" },
%     { "vector_and", "vector a, vector b", p .. "_and_" .. si .. "(a, b)" },
%     { "vector_add16", "vector a, vector b", p .. "_add_epi16(a, b)" },
%     { "vector_add32", "vector a, vector b", p .. "_add_epi32(a, b)" },
%     { "vector_madd16", "vector a, vector b", p .. "_madd_epi16(a, b)" },
%     { "vector_maddubs", "vector a, vector b", p .. "_maddubs_epi16(a, b)" },
% }
% for _, o in ipairs(operations) do
static inline vector ${o[1]}(${o[2]})
{
    return ${o[3]};
}

% end
#define vector_shift_down16(x, count) ${p}_srli_epi16(x, count)
