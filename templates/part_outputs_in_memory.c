// The outputs of finished segments belong in memory: called between segments, this keeps the compiler from holding them
// in registers, which the inner loop needs. It costs no instruction.
static inline void leave_outputs_in_memory(void)
{
    __asm__ volatile("" ::: "memory");
}
