// GCC would add products to each other before it adds them to the sums, and run out of the 16 registers: every product
// would wait in memory. In the order written all sums stay in registers.
#if defined __GNUC__ && !defined __clang__
#pragma GCC optimize("no-tree-reassoc", "no-tree-ter")
#endif
