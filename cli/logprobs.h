// How likely the tokens of a generated text were, as JSON lines:
//   {"token":17,"text":" cat","logprob":-0.25,"top":[{"token":17,"text":" cat","logprob":-0.25},...]}
#ifndef TMAC_CLI_LOGPROBS_H
#define TMAC_CLI_LOGPROBS_H

#include "runtime/tmac.h"

typedef struct tmac_logprobs tmac_logprobs;

tmac_status tmac_logprobs_open(const char *path, const tmac_tokenizer *tokenizer, uint32_t vocab,
                               uint64_t alternatives, tmac_logprobs **log);
void tmac_logprobs_write(tmac_logprobs *log, const float *logits, uint32_t token);
// Either of the two ends it; close puts the file in its place and reports what failed, abort leaves none.
tmac_status tmac_logprobs_close(tmac_logprobs *log);
void tmac_logprobs_abort(tmac_logprobs *log); // NULL is fine

#endif
