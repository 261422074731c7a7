// Two planes of a table give the low and the high byte of a looked-up sum; interleaved they are int16.
//
// Bound: a sum of four activations is at most 4 * 128 = 512 in size and a code adds two of them to an int16, so 31 codes
// stay within 31 * 2 * 512 = 31744. Then every plane's sums are widened to int32, shifted up to the weight of their plane
// and added to the outputs, which started with the offset that makes codes weights. On the way there the outputs may
// pass 2^31 and wrap, but additions wrap exactly, and the last one is an int32 again.
