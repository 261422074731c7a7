// Learning a vocabulary: byte-pair encoding inside words.
//
// A text falls into words: a run of letters, digits or other marks, each with the one space before it; line ends stand
// alone. No piece crosses the end of a word. Symbols are characters at first; again and again the most frequent pair of
// neighbours (the lowest ids among equals) becomes a symbol, which is a piece whose score is minus its rank, so that the
// tokenizer (runtime/tokenizer_encode.c) repeats the merges in their order. ASCII characters need no pieces of their own:
// the byte pieces stand for them; but for the space, since the one in front of a text is dropped again when it is printed,
// and bytes never are. Other characters get one if they come twice, the most frequent first, for at most a
// quarter of the room; the rest falls back to bytes and ends a run of symbols.
//
// Every pair knows the words it was seen in, so that a merge visits only those. The best pair is found by looking at all
// of them: fine for vocabularies of some ten thousands.
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "runtime/utf8.h"
#include "train/train.h"

enum {
    SPECIALS = 3,
    FIRST_PIECE = SPECIALS + 256, // of what is learned; the last of all is the space
    SMALLEST = FIRST_PIECE + 1,
    BARRIER = UINT32_MAX, // a character without a piece: part of no pair
    WORD_BYTES = 128,     // longer ones are cut
    PIECE_BYTES = 64,     // merges that would be longer are left
};

typedef struct symbol {
    char text[PIECE_BYTES];
    uint32_t bytes;
    uint64_t count; // of a character
} symbol;

typedef struct word {
    char text[WORD_BYTES];
    uint32_t bytes;
    uint32_t first, length; // its symbols
    uint64_t count;
} word;

typedef struct pair {
    uint32_t left, right;
    int64_t count;
    uint32_t *words;
    uint32_t word_count, word_room;
} pair;

// An array that grows, and an open-addressing index over it by content.
typedef struct table {
    void *items;
    size_t count, room, item_bytes;
    uint32_t *slots; // index + 1; 0: free
    size_t slot_count;
} table;

typedef struct learner {
    table words, pairs;
    symbol *symbols;
    uint32_t symbol_count, symbol_room;
    uint32_t *sequence; // the symbols of all words
    bool out_of_memory;
} learner;

static uint64_t hash_of(const void *data, size_t bytes)
{
    const unsigned char *at = data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static const void *key_of(const table *t, const void *item, size_t *bytes)
{
    if (t->item_bytes == sizeof(pair)) {
        *bytes = 2 * sizeof(uint32_t);
        return item;
    }
    *bytes = ((const word *)item)->bytes;
    return item;
}

static void place(table *t, size_t index)
{
    size_t bytes;
    const void *key = key_of(t, (char *)t->items + index * t->item_bytes, &bytes);
    size_t slot = hash_of(key, bytes) & (t->slot_count - 1);
    while (t->slots[slot])
        slot = (slot + 1) & (t->slot_count - 1);
    t->slots[slot] = (uint32_t)index + 1;
}

static bool enlarge(table *t)
{
    if (t->count == t->room) {
        size_t room = 2 * t->room + 256;
        void *moved = realloc(t->items, room * t->item_bytes);
        if (!moved) return false;
        t->items = moved;
        t->room = room;
    }
    if (2 * (t->count + 1) <= t->slot_count) return true;
    size_t count = t->slot_count ? 2 * t->slot_count : 1024;
    uint32_t *slots = calloc(count, sizeof *slots);
    if (!slots) return false;
    free(t->slots);
    t->slots = slots;
    t->slot_count = count;
    for (size_t i = 0; i < t->count; i++)
        place(t, i);
    return true;
}

// The item with this content; a new one, zeroed but for its content, where there is none. NULL: out of memory.
static void *find_or_add(table *t, const void *content, size_t content_bytes)
{
    if (!enlarge(t)) return NULL;
    size_t slot = hash_of(content, content_bytes) & (t->slot_count - 1);
    for (; t->slots[slot]; slot = (slot + 1) & (t->slot_count - 1)) {
        void *item = (char *)t->items + (t->slots[slot] - 1) * t->item_bytes;
        size_t bytes;
        const void *key = key_of(t, item, &bytes);
        if (bytes == content_bytes && memcmp(key, content, bytes) == 0) return item;
    }
    void *item = (char *)t->items + t->count * t->item_bytes;
    memset(item, 0, t->item_bytes);
    memcpy(item, content, content_bytes);
    t->slots[slot] = (uint32_t)++t->count;
    return item;
}

// ---------------------------------------------------------------------------------------------------------- words

typedef enum class { LETTER, DIGIT, MARK, END } class;

static class class_of(unsigned char c)
{
    if (c >= 0x80 || ((c | 32) >= 'a' && (c | 32) <= 'z')) return LETTER;
    if (c >= '0' && c <= '9') return DIGIT;
    return c == '\n' || c == '\r' || c == '\t' ? END : MARK;
}

// The length of the word at the start of `text`: of whole characters.
static size_t word_length(const char *text, size_t bytes)
{
    const size_t first = text[0] == ' ' && bytes > 1 && text[1] != ' ';
    const class kind = class_of((unsigned char)text[first]);
    size_t at = first;
    while (at < bytes && at < WORD_BYTES && class_of((unsigned char)text[at]) == kind &&
           (at == first || text[at] != ' ')) {
        int character = tmac_utf8_character(text + at, bytes - at);
        size_t length = character > 0 ? (size_t)character : 1;
        if (at + length > WORD_BYTES) break;
        at += length;
        if (kind == END) break;
    }
    return at;
}

static void count_words(learner *l, const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes && !l->out_of_memory;) {
        const size_t length = word_length(text + at, bytes - at);
        word *w = find_or_add(&l->words, text + at, length);
        if (w) {
            w->bytes = (uint32_t)length;
            w->count++;
        } else {
            l->out_of_memory = true;
        }
        at += length;
    }
}

// -------------------------------------------------------------------------------------------------------- symbols

static uint32_t add_symbol(learner *l, const char *text, uint32_t bytes)
{
    if (l->symbol_count == l->symbol_room) {
        uint32_t room = 2 * l->symbol_room + 1024;
        symbol *moved = realloc(l->symbols, room * sizeof *moved);
        if (!moved) {
            l->out_of_memory = true;
            return BARRIER;
        }
        l->symbols = moved;
        l->symbol_room = room;
    }
    symbol *s = &l->symbols[l->symbol_count];
    memset(s, 0, sizeof *s);
    memcpy(s->text, text, bytes);
    s->bytes = bytes;
    return l->symbol_count++;
}

static uint32_t find_character(const learner *l, const char *text, uint32_t bytes)
{
    for (uint32_t i = 256; i < l->symbol_count; i++)
        if (l->symbols[i].bytes == bytes && memcmp(l->symbols[i].text, text, bytes) == 0) return i;
    return BARRIER;
}

static int more_frequent(const void *a, const void *b)
{
    const symbol *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return memcmp(x->text, y->text, sizeof x->text);
}

// Symbols 0 to 255 are the bytes; then come the characters beyond ASCII that get a piece.
static void find_characters(learner *l, uint32_t room)
{
    for (int byte = 0; byte < 256; byte++)
        add_symbol(l, (const char[]){(char)byte}, 1);
    const word *words = l->words.items;
    for (size_t i = 0; i < l->words.count && !l->out_of_memory; i++) {
        for (uint32_t at = 0; at < words[i].bytes;) {
            int length = tmac_utf8_character(words[i].text + at, words[i].bytes - at);
            uint32_t bytes = length > 0 ? (uint32_t)length : 1;
            if (bytes > 1) {
                uint32_t s = find_character(l, words[i].text + at, bytes);
                if (s == BARRIER) s = add_symbol(l, words[i].text + at, bytes);
                if (s != BARRIER) l->symbols[s].count += words[i].count;
            }
            at += bytes;
        }
    }
    if (l->out_of_memory) return;
    qsort(l->symbols + 256, l->symbol_count - 256, sizeof *l->symbols, more_frequent);
    uint32_t kept = 256;
    while (kept < l->symbol_count && kept - 256 < room / 4 && l->symbols[kept].count > 1)
        kept++;
    l->symbol_count = kept;
}

static void cut_words(learner *l)
{
    word *words = l->words.items;
    size_t total = 0;
    for (size_t i = 0; i < l->words.count; i++)
        total += words[i].bytes;
    l->sequence = calloc(total + 1, sizeof *l->sequence);
    if (!l->sequence) {
        l->out_of_memory = true;
        return;
    }
    uint32_t next = 0;
    for (size_t i = 0; i < l->words.count; i++) {
        word *w = &words[i];
        w->first = next;
        for (uint32_t at = 0; at < w->bytes;) {
            int length = tmac_utf8_character(w->text + at, w->bytes - at);
            uint32_t bytes = length > 0 ? (uint32_t)length : 1;
            unsigned char byte = (unsigned char)w->text[at];
            l->sequence[next++] = bytes > 1     ? find_character(l, w->text + at, bytes)
                                  : byte < 0x80 ? byte
                                                : BARRIER;
            at += bytes;
        }
        w->length = next - w->first;
    }
}

// ---------------------------------------------------------------------------------------------------------- pairs

static void count_pair(learner *l, uint32_t left, uint32_t right, uint32_t index, int64_t count)
{
    if (left == BARRIER || right == BARRIER || l->out_of_memory) return;
    const uint32_t both[2] = {left, right};
    pair *p = find_or_add(&l->pairs, both, sizeof both);
    if (!p) {
        l->out_of_memory = true;
        return;
    }
    p->count += count;
    if (count < 0 || (p->word_count && p->words[p->word_count - 1] == index)) return;
    if (p->word_count == p->word_room) {
        uint32_t room = 2 * p->word_room + 4;
        uint32_t *moved = realloc(p->words, room * sizeof *moved);
        if (!moved) {
            l->out_of_memory = true;
            return;
        }
        p->words = moved;
        p->word_room = room;
    }
    p->words[p->word_count++] = index;
}

static void count_word(learner *l, uint32_t index, bool removed)
{
    const word *w = (const word *)l->words.items + index;
    const int64_t count = (int64_t)w->count;
    for (uint32_t i = 0; i + 1 < w->length; i++)
        count_pair(l, l->sequence[w->first + i], l->sequence[w->first + i + 1], index,
                   removed ? -count : count);
}

static bool mergeable(const learner *l, const pair *p)
{
    return l->symbols[p->left].bytes + l->symbols[p->right].bytes <= PIECE_BYTES;
}

// Of the pairs seen at least twice; NULL: there is none left.
static pair *best_pair(const learner *l)
{
    pair *pairs = l->pairs.items, *best = NULL;
    for (size_t i = 0; i < l->pairs.count; i++) {
        pair *p = &pairs[i];
        if (p->count < 2 || !mergeable(l, p)) continue;
        if (best && (p->count < best->count ||
                     (p->count == best->count &&
                      (p->left > best->left || (p->left == best->left && p->right > best->right)))))
            continue;
        best = p;
    }
    return best;
}

static void merge_in_word(learner *l, uint32_t index, uint32_t left, uint32_t right, uint32_t both)
{
    word *w = (word *)l->words.items + index;
    uint32_t *s = l->sequence + w->first, kept = 0;
    for (uint32_t i = 0; i < w->length; i++) {
        if (i + 1 < w->length && s[i] == left && s[i + 1] == right) {
            s[kept++] = both;
            i++;
        } else {
            s[kept++] = s[i];
        }
    }
    w->length = kept;
}

static bool merge_best(learner *l)
{
    pair *best = best_pair(l);
    if (!best) return false;
    // The pair moves when the table grows: what is needed of it is taken out first.
    const uint32_t left = best->left, right = best->right, count = best->word_count;
    uint32_t *words = best->words;
    best->words = NULL;
    best->word_count = best->word_room = 0;
    char text[PIECE_BYTES];
    const symbol *a = &l->symbols[left], *b = &l->symbols[right];
    const uint32_t bytes = a->bytes + b->bytes;
    memcpy(text, a->text, a->bytes);
    memcpy(text + a->bytes, b->text, b->bytes);
    const uint32_t both = add_symbol(l, text, bytes);
    for (uint32_t i = 0; i < count && !l->out_of_memory; i++) {
        count_word(l, words[i], true);
        merge_in_word(l, words[i], left, right, both);
        count_word(l, words[i], false);
    }
    free(words);
    return !l->out_of_memory;
}

// --------------------------------------------------------------------------------------------------------- output

static void put_piece(tmac_output *output, float score, const char *text, uint32_t bytes)
{
    tmac_output_write(output, &score, sizeof score);
    tmac_output_write(output, &bytes, sizeof bytes);
    tmac_output_write(output, text, bytes);
}

static tmac_status write_pieces(const learner *l, uint32_t characters, const char *path)
{
    static const char *const specials[SPECIALS] = {"<unk>", "<s>", "</s>"};
    const uint32_t longest = PIECE_BYTES, merges = l->symbol_count - 256 - characters;
    tmac_output output;
    TMAC_TRY(tmac_output_open(path, &output));
    tmac_output_write(&output, &longest, sizeof longest);
    for (int i = 0; i < SPECIALS; i++)
        put_piece(&output, 0.0f, specials[i], (uint32_t)strlen(specials[i]));
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        put_piece(&output, 0.0f, text, 6);
    }
    const symbol *s = l->symbols + 256;
    for (uint32_t i = 0; i < merges; i++)
        put_piece(&output, -(float)i, s[characters + i].text, s[characters + i].bytes);
    for (uint32_t i = 0; i < characters; i++)
        put_piece(&output, -(float)(merges + i), s[i].text, s[i].bytes);
    put_piece(&output, -(float)(merges + characters), " ", 1);
    return tmac_output_commit(&output);
}

static tmac_status learn(learner *l, const char *const *texts, size_t text_count, uint32_t size,
                         const char *path)
{
    for (size_t i = 0; i < text_count; i++) {
        tmac_map map;
        TMAC_TRY(tmac_map_open(texts[i], &map));
        count_words(l, (const char *)map.data, map.bytes);
        tmac_map_close(&map);
    }
    if (l->words.count == 0) return tmac_fail(TMAC_BAD_FILE, "the texts are empty");
    find_characters(l, size - SMALLEST);
    if (!l->out_of_memory) cut_words(l);
    const uint32_t characters = l->symbol_count - 256;
    for (size_t i = 0; i < l->words.count && !l->out_of_memory; i++)
        count_word(l, (uint32_t)i, false);
    while (!l->out_of_memory && l->symbol_count - 256 < size - SMALLEST)
        if (!merge_best(l)) break;
    if (l->out_of_memory)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %zu different words",
                         l->words.count);
    if (l->symbol_count - 256 < size - SMALLEST)
        return tmac_fail(TMAC_BAD_FILE,
                         "the texts yield only %u pieces: ask for no more, or give more text",
                         l->symbol_count - 256 + SMALLEST);
    return write_pieces(l, characters, path);
}

tmac_status tmac_bpe_train(const char *const *texts, size_t text_count, uint32_t size,
                           const char *path)
{
    if (size < SMALLEST || size > 1u << 20)
        return tmac_fail(TMAC_USAGE, "a vocabulary has between %d and %u pieces, not %u", SMALLEST,
                         1u << 20, size);
    learner l = {.words = {.item_bytes = sizeof(word)}, .pairs = {.item_bytes = sizeof(pair)}};
    tmac_status status = learn(&l, texts, text_count, size, path);
    for (size_t i = 0; i < l.pairs.count; i++)
        free(((pair *)l.pairs.items)[i].words);
    free(l.words.items);
    free(l.words.slots);
    free(l.pairs.items);
    free(l.pairs.slots);
    free(l.symbols);
    free(l.sequence);
    return status;
}
