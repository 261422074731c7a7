// GCC would move the loads and the decoding of a whole block in front of its products and run out of the 32 registers.
// In the order written nothing waits in memory.
#if defined __GNUC__ && !defined __clang__
#pragma GCC optimize("no-schedule-insns")
#endif
