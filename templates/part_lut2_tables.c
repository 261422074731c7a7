// Prepared activations "lut2": for each code of four activations two tables, one for each nibble, of the nine sums as
// int16 in two planes: 16 low bytes, 16 high bytes. Entries 9..15 are zero.
enum { TABLE_BYTES = 64 };
