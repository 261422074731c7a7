// Prepared activations "lut3": for each code of six activations two tables, one for each triple, of its sums under the
// triples v = 0..13 in two planes of 16 bytes: low, then high, sum = low + 31 high, both int8. low is in [-15, 15], so
// that it can be negated; high in [-12, 12], because a sum is at most 3 * 128 in size. Entries 14 and 15 are zero.
enum { TABLE_BYTES = 64 };
