// Parts of vocabularies that several kinds of files have in common (convert/vocabulary.h).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/vocabulary.h"

tmac_status tmac_vocabulary_take(tmac_vocabulary *vocabulary, uint32_t size, size_t text_bytes,
                                 char **text)
{
    memset(vocabulary, 0, sizeof *vocabulary);
    const size_t table = size * sizeof *vocabulary->pieces;
    vocabulary->pieces = calloc(1, table + text_bytes + 1);
    if (!vocabulary->pieces)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %u pieces", size);
    vocabulary->size = size;
    vocabulary->bos = vocabulary->eos = vocabulary->unknown = -1;
    *text = (char *)vocabulary->pieces + table;
    return tmac_ok();
}

tmac_status tmac_vocabulary_take_merges(tmac_vocabulary *vocabulary, uint32_t count)
{
    vocabulary->merges = calloc((size_t)count + 1, sizeof *vocabulary->merges);
    if (!vocabulary->merges)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %u merges", count);
    vocabulary->merge_count = count;
    return tmac_ok();
}

void tmac_vocabulary_free(tmac_vocabulary *vocabulary)
{
    free(vocabulary->pieces);
    free(vocabulary->merges);
    memset(vocabulary, 0, sizeof *vocabulary);
}

tmac_status tmac_vocabulary_pad(tmac_vocabulary *vocabulary, uint32_t size)
{
    if (vocabulary->size == 0 || size <= vocabulary->size || size > TMAC_PIECES_MAX)
        return tmac_ok();
    size_t text_bytes = 0;
    for (uint32_t i = 0; i < vocabulary->size; i++)
        text_bytes += vocabulary->pieces[i].bytes;
    tmac_vocabulary longer;
    char *text;
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): where it fails there is nothing to free
    TMAC_TRY(tmac_vocabulary_take(&longer, size, text_bytes, &text));
    tmac_piece *pieces = longer.pieces;
    longer = *vocabulary;
    longer.pieces = pieces;
    longer.size = size;
    for (uint32_t i = 0; i < size; i++) {
        pieces[i] =
            i < vocabulary->size ? vocabulary->pieces[i] : (tmac_piece){.kind = TMAC_PIECE_UNUSED};
        if (pieces[i].bytes) memcpy(text, pieces[i].text, pieces[i].bytes);
        pieces[i].text = text;
        text += pieces[i].bytes;
    }
    free(vocabulary->pieces);
    *vocabulary = longer;
    return tmac_ok();
}

void tmac_vocabulary_add_stop(tmac_vocabulary *vocabulary, int64_t token)
{
    if (token < 0 || token >= vocabulary->size) return;
    for (uint32_t i = 0; i < vocabulary->stop_count; i++)
        if (vocabulary->stops[i] == (uint64_t)token) return;
    if (vocabulary->stop_count < TMAC_STOPS_MAX)
        vocabulary->stops[vocabulary->stop_count++] = (uint32_t)token;
}

// -------------------------------------------------------------------------------------------------------- spelling

uint32_t tmac_spell_spm(const char *from, uint32_t bytes, char *to)
{
    static const char space_mark[] = "\xe2\x96\x81"; // U+2581
    uint32_t written = 0;
    for (uint32_t i = 0; i < bytes;) {
        const bool mark = bytes - i >= 3 && memcmp(from + i, space_mark, 3) == 0;
        to[written++] = mark ? ' ' : from[i];
        i += mark ? 3 : 1;
    }
    return written;
}

// Bytes that stand for themselves: what Latin-1 prints, without the space, the no-break space and the soft hyphen.
static bool is_printable(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

// The byte of U+0100 + n; -1: there is none.
static int unprintable(uint32_t n)
{
    for (uint32_t byte = 0; byte < 256; byte++)
        if (!is_printable(byte) && n-- == 0) return (int)byte;
    return -1;
}

uint32_t tmac_spell_byte(uint8_t byte, char to[2])
{
    uint32_t code = byte;
    if (!is_printable(byte)) {
        code = 0x100;
        for (uint32_t before = 0; before < byte; before++)
            code += !is_printable(before);
    }
    to[0] = (char)(code < 0x80 ? code : 0xc0 | code >> 6);
    to[1] = (char)(0x80 | (code & 0x3f));
    return code < 0x80 ? 1 : 2;
}

bool tmac_spell_bytes(const char *from, uint32_t bytes, char *to, uint32_t *written)
{
    *written = 0;
    for (uint32_t i = 0; i < bytes;) {
        const uint32_t lead = (unsigned char)from[i];
        uint32_t code = lead;
        if (lead >= 0x80) {
            // U+0080 to U+07FF: two bytes are all that the alphabet needs.
            if (lead < 0xc2 || lead > 0xdf || i + 1 == bytes || (from[i + 1] & 0xc0) != 0x80)
                return false;
            code = (lead & 0x1f) << 6 | ((unsigned char)from[i + 1] & 0x3f);
        }
        i += lead >= 0x80 ? 2 : 1;
        const int byte = code >= 0x100        ? unprintable(code - 0x100)
                         : is_printable(code) ? (int)code
                                              : -1;
        if (byte < 0) return false;
        to[(*written)++] = (char)byte;
    }
    return true;
}

// ------------------------------------------------------------------------------------------------------- the index

struct tmac_piece_index {
    const tmac_vocabulary *vocabulary;
    uint32_t mask, slots[]; // ids, open addressing, at most half full
};

static uint32_t *slot_of(tmac_piece_index *index, const char *text, uint32_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
    for (uint32_t i = 0; i < bytes; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    for (uint32_t at = (uint32_t)(hash ^ hash >> 32);; at++) {
        uint32_t *slot = &index->slots[at & index->mask];
        if (*slot == TMAC_NO_ID) return slot;
        const tmac_piece *piece = &index->vocabulary->pieces[*slot];
        if (piece->bytes == bytes && memcmp(piece->text, text, bytes) == 0) return slot;
    }
}

tmac_status tmac_piece_index_new(const tmac_vocabulary *vocabulary, tmac_piece_index **index)
{
    size_t slots = 16;
    while (slots < 2 * (size_t)vocabulary->size)
        slots *= 2;
    *index = malloc(sizeof **index + slots * sizeof(uint32_t));
    if (!*index)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %u pieces", vocabulary->size);
    (*index)->vocabulary = vocabulary;
    (*index)->mask = (uint32_t)(slots - 1);
    memset((*index)->slots, 0xff, slots * sizeof(uint32_t));
    for (uint32_t id = 0; id < vocabulary->size; id++) {
        const tmac_piece *piece = &vocabulary->pieces[id];
        if (piece->bytes == 0) continue;
        if (piece->kind != TMAC_PIECE_NORMAL && piece->kind != TMAC_PIECE_USER) continue;
        uint32_t *slot = slot_of(*index, piece->text, piece->bytes);
        if (*slot == TMAC_NO_ID) *slot = id;
    }
    return tmac_ok();
}

uint32_t tmac_piece_index_find(const tmac_piece_index *index, const char *text, uint32_t bytes)
{
    return *slot_of((tmac_piece_index *)index, text, bytes);
}

void tmac_piece_index_free(tmac_piece_index *index)
{
    free(index);
}

// ---------------------------------------------------------------------------------------------------------- merges

static uint32_t find_spelled(const tmac_piece_index *index, bool byte_level, const char *text,
                             size_t bytes)
{
    char spelled[1024];
    uint32_t written = 0;
    if (bytes == 0 || bytes > sizeof spelled) return TMAC_NO_ID;
    if (!byte_level)
        written = tmac_spell_spm(text, (uint32_t)bytes, spelled);
    else if (!tmac_spell_bytes(text, (uint32_t)bytes, spelled, &written))
        return TMAC_NO_ID;
    return tmac_piece_index_find(index, spelled, written);
}

tmac_status tmac_merge_parse(const tmac_piece_index *index, bool byte_level, const char *text,
                             size_t bytes, uint32_t rank, tmac_merge *merge)
{
    const char *space = memchr(text, ' ', bytes);
    const size_t left = space ? (size_t)(space - text) : bytes;
    *merge = (tmac_merge){TMAC_NO_ID, TMAC_NO_ID};
    if (space) {
        merge->left = find_spelled(index, byte_level, text, left);
        merge->right = find_spelled(index, byte_level, space + 1, bytes - left - 1);
    }
    if (merge->left == TMAC_NO_ID || merge->right == TMAC_NO_ID)
        return tmac_fail(TMAC_BAD_FILE, "merge %u, '%.*s', does not join two pieces", rank,
                         (int)(bytes < 80 ? bytes : 80), text);
    return tmac_ok();
}

// -------------------------------------------------------------------------------------------------------- patterns

#define CONTRACTIONS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define WORD         "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define REST         " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const char llama3[] = CONTRACTIONS "|" WORD "|\\p{N}{1,3}|" REST;
static const char qwen2[] = CONTRACTIONS "|" WORD "|\\p{N}|" REST;
static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)";

// Falcon: punctuation, GPT-2's words, groups of three digits, one after the other.
static const char falcon[] = TMAC_PATTERN_PUNCTUATION
    "\n"
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
    "\n[0-9][0-9][0-9]";

// The first name of a pattern, with whole_words as it says, is the one that is written.
static const struct {
    const char *name, *pattern;
    bool whole_words;
} patterns[] = {
    {"llama-bpe", llama3, true}, {"smaug-bpe", llama3, false}, {"llama3", llama3, true},
    {"llama-v3", llama3, true},  {"falcon3", llama3, true},    {"qwen2", qwen2, false},
    {"gpt-2", gpt2, false},      {"gpt2", gpt2, false},        {"falcon", falcon, false},
};
const char tmac_pattern_names[] =
    "llama-bpe, smaug-bpe, llama3, llama-v3, falcon3, qwen2, gpt-2, falcon";

const char *tmac_pattern_named(const char *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (strlen(patterns[i].name) == bytes && memcmp(patterns[i].name, name, bytes) == 0)
            return patterns[i].pattern;
    return NULL;
}

bool tmac_pattern_whole_words(const char *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (strlen(patterns[i].name) == bytes && memcmp(patterns[i].name, name, bytes) == 0)
            return patterns[i].whole_words;
    return false;
}

// Writes the pattern in one spelling of several that mean the same: contractions letter by letter, and without a last
// alternative for blanks, which are words anyway where nothing matches them.
static void respell(const char *pattern, char to[2 * TMAC_PATTERN_BYTES])
{
    static const char ignoring[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)", blanks[] = "\\s+(?!\\S)|\\s+";
    // Each line at most doubles, its end counted: with `ignoring` at its head it holds that once.
    _Static_assert(sizeof CONTRACTIONS <= 2 * sizeof ignoring, "what is written has room");
    size_t used = 0;
    while (*pattern) {
        const size_t bytes = strcspn(pattern, "\n");
        const char *end = pattern + bytes;
        if (bytes >= strlen(ignoring) && memcmp(pattern, ignoring, strlen(ignoring)) == 0) {
            used += (size_t)snprintf(to + used, 2 * TMAC_PATTERN_BYTES - used, CONTRACTIONS);
            pattern += strlen(ignoring);
        }
        const size_t tail = strlen(blanks), rest = (size_t)(end - pattern);
        const bool cut = rest >= tail && memcmp(end - tail, blanks, tail) == 0;
        memcpy(to + used, pattern, rest - (cut ? strlen("|\\s+") : 0));
        used += rest - (cut ? strlen("|\\s+") : 0);
        pattern = end;
        if (*pattern) to[used++] = *pattern++;
    }
    to[used] = '\0';
}

const char *tmac_pattern_name(const tmac_vocabulary *vocabulary)
{
    char wanted[2 * TMAC_PATTERN_BYTES], known[2 * TMAC_PATTERN_BYTES];
    respell(vocabulary->pattern, wanted);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        respell(patterns[i].pattern, known);
        if (strcmp(wanted, known) == 0 && patterns[i].whole_words == vocabulary->whole_words)
            return patterns[i].name;
    }
    return NULL;
}

// ------------------------------------------------------------------------------------------------- chat templates

// The first row whose marks are all in the template, and whose counter-mark is not.
static const struct {
    const char *name, *marks[3], *without;
} chats[] = {
    {"llama3", {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, NULL},
    {"bitnet", {"<|eot_id|>", "Assistant: "}, NULL},
    {"chatml", {"<|im_start|>", "<|im_end|>"}, NULL},
    {"falcon3", {"<|user|>", "<|assistant|>", "<|system|>"}, "<|end|>"},
    {"llama2", {"[INST]", "<<SYS>>"}, NULL},
};

void tmac_chat_recognise(const char *jinja, size_t bytes, char name[TMAC_CHAT_NAME_BYTES])
{
    name[0] = '\0';
    for (size_t i = 0; i < sizeof chats / sizeof *chats && !name[0]; i++) {
        bool all =
            !chats[i].without || !memmem(jinja, bytes, chats[i].without, strlen(chats[i].without));
        for (size_t m = 0; m < 3 && chats[i].marks[m]; m++)
            all = all && memmem(jinja, bytes, chats[i].marks[m], strlen(chats[i].marks[m]));
        if (all) snprintf(name, TMAC_CHAT_NAME_BYTES, "%s", chats[i].name);
    }
}

// Templates for other programs, in the fewest words: each has the marks by which it is recognised above.
const char *tmac_chat_jinja(const char *name)
{
    static const struct {
        const char *name, *jinja;
    } templates[] = {
        {"llama3",
         "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + "
         "'<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
         "{% endif %}"},
        {"bitnet",
         "{{ bos_token }}{% for m in messages %}{{ m['role'] | capitalize + ': ' + m['content'] | "
         "trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}"
         "{% endif %}"},
        {"chatml", "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + "
                   "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
                   "{{ '<|im_start|>assistant\n' }}{% endif %}"},
        {"falcon3",
         "{% for m in messages %}{% if m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + "
         "'\n' }}{% elif m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + '\n' }}"
         "{% else %}{{ '<|assistant|>\n' + m['content'] + '<|endoftext|>\n' }}{% endif %}"
         "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"},
        {"llama2",
         "{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>\n' + "
         "messages[0]['content'] | trim + '\n<</SYS>>\n\n' %}{% set turns = messages[1:] %}"
         "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
         "{% for m in turns %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if "
         "loop.first else '') + m['content'] | trim + ' [/INST]' }}{% else %}"
         "{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"},
    };
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++)
        if (strcmp(templates[i].name, name) == 0) return templates[i].jinja;
    return NULL;
}
