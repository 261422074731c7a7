// Drafting without a draft model: what followed the last time the text ended like this.
//
// Text repeats itself (names, quotations, code, lists), so the tokens that followed an earlier occurrence of its last
// few are a fair guess at what comes next. A guess costs little where several tokens are multiplied at once for less
// than the price of each alone, and never changes a result: the caller decodes the last token and the guesses in one
// batch, keeps a guess only when it is the token it would have chosen anyway, and truncates the session behind the last
// one kept. A position's logits do not depend on the batch (docs/DESIGN.md, section 3).
#ifndef TMAC_RUNTIME_DRAFT_H
#define TMAC_RUNTIME_DRAFT_H

#include <stdint.h>

enum { TMAC_DRAFT_MAX = 64, TMAC_DRAFT_MATCH = 3 };

// Guesses what follows tokens[0, count): finds the latest earlier occurrence of the last TMAC_DRAFT_MATCH tokens, else
// of one token less, down to one, and copies up to `most` of the tokens behind it to `draft`. Where the occurrence
// overlaps the end, the text is taken to go on in the same period. Returns the number of tokens drafted; 0 when the
// last token is new.
uint32_t tmac_draft(const uint32_t *tokens, uint32_t count, uint32_t most, uint32_t *draft);

#endif
