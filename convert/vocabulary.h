// What the readers of vocabularies share. Private to convert/.
//
//   vocabulary.c           tokenizer.bin, and the choice between all kinds of files
//   vocabulary_parts.c     spelling, merges, patterns by name, recognition of chat templates
//   vocabulary_tiktoken.c  ranks in base64
//   vocabulary_spm.c       sentencepiece's own model file
//   vocabulary_json.c      tokenizer.json
//   vocabulary_words.c     how a tokenizer.json cuts words
//   vocabulary_folder.c    a model folder of Hugging Face
//   gguf_vocabulary.c, tm2_vocabulary.c
#ifndef TMAC_CONVERT_VOCABULARY_H
#define TMAC_CONVERT_VOCABULARY_H

#include <jansson.h>

#include "base/file.h"
#include "convert/convert.h"
#include "runtime/source.h"

enum { TMAC_PIECES_MAX = 1 << 22 };

// Takes room for `size` pieces and `text_bytes` of their texts as one block, freed by tmac_vocabulary_free; *text is
// where the texts go. bos, eos and unknown are -1.
tmac_status tmac_vocabulary_take(tmac_vocabulary *vocabulary, uint32_t size, size_t text_bytes,
                                 char **text);
tmac_status tmac_vocabulary_take_merges(tmac_vocabulary *vocabulary, uint32_t count);

// How files write bytes as text that can be read: both write to `to`, which has room for `bytes`, and return the bytes
// written. Sentencepiece: U+2581 is a space. Byte-level: every byte is a character, the printable ones themselves, the
// others U+0100 onwards in order; false where a character is none of these.
uint32_t tmac_spell_spm(const char *from, uint32_t bytes, char *to);
bool tmac_spell_bytes(const char *from, uint32_t bytes, char *to, uint32_t *written);

// Ids by bytes, of normal and user-defined pieces. The index refers to the vocabulary.
typedef struct tmac_piece_index tmac_piece_index;
tmac_status tmac_piece_index_new(const tmac_vocabulary *vocabulary, tmac_piece_index **index);
uint32_t tmac_piece_index_find(const tmac_piece_index *index, const char *text, uint32_t bytes);
void tmac_piece_index_free(tmac_piece_index *index);
enum { TMAC_NO_ID = UINT32_MAX };

// A merge as files write it: two spelled pieces with a space between them.
tmac_status tmac_merge_parse(const tmac_piece_index *index, bool byte_level, const char *text,
                             size_t bytes, uint32_t rank, tmac_merge *merge);

// The word pattern that goes by a name in tokenizer.ggml.pre; NULL: none that we know. known: the names we know.
const char *tmac_pattern_named(const char *name, size_t bytes);
extern const char tmac_pattern_names[];
bool tmac_pattern_whole_words(const char *name, size_t bytes);

// The name in tokenizer.ggml.pre of a pattern, whichever way it is spelled; NULL: none.
const char *tmac_pattern_name(const tmac_vocabulary *vocabulary);

// Punctuation that belongs together.
#define TMAC_PATTERN_PUNCTUATION "[\\p{P}$+<=>^`|~]+"

// The patterns and the normal form that a tokenizer.json asks for.
tmac_status tmac_json_words(const json_t *root, char pattern[TMAC_PATTERN_BYTES]);
tmac_status tmac_json_normal_form(const json_t *root, bool *nfc);

// The alphabet of byte-level pieces: writes what a file writes for a byte, 1 or 2 bytes of UTF-8, and returns how many.
uint32_t tmac_spell_byte(uint8_t byte, char to[2]);

// A Jinja template for a form of conversation that runtime/chat.h knows; NULL: none.
const char *tmac_chat_jinja(const char *name);

// The form of conversation that a Jinja template describes: the name that runtime/chat.h knows, "" where it is none.
void tmac_chat_recognise(const char *jinja, size_t bytes, char name[TMAC_CHAT_NAME_BYTES]);

// Adds a stop token, once. More than there is room for are left out: a text with so many has other marks.
void tmac_vocabulary_add_stop(tmac_vocabulary *vocabulary, int64_t token);

// Makes the vocabulary `size` long with unused pieces: models round their tables up.
tmac_status tmac_vocabulary_pad(tmac_vocabulary *vocabulary, uint32_t size);

// Recognise and read. *vocabulary is empty on failure.
bool tmac_is_tiktoken(const tmac_map *map);
tmac_status tmac_read_tiktoken(const tmac_map *map, tmac_vocabulary *vocabulary);
bool tmac_is_spm_model(const tmac_map *map);
tmac_status tmac_read_spm_model(const tmac_map *map, tmac_vocabulary *vocabulary);
bool tmac_is_tokenizer_json(const tmac_map *map);
tmac_status tmac_read_tokenizer_json(const tmac_map *map, tmac_vocabulary *vocabulary);

#endif
