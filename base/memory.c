#include "base/memory.h"

#include <string.h>
#include <sys/mman.h>

bool tmac_size_multiply(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

bool tmac_size_add(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

// Large mappings start on a huge-page boundary, so that every byte of them can be in one: the kernel rounds only to
// 4096, hence the slack of one huge page, of which the untouched rest costs nothing.
enum { HUGE_PAGE = 2 << 20 };

tmac_status tmac_pages_map(size_t bytes, tmac_pages *pages)
{
    memset(pages, 0, sizeof *pages);
    if (bytes == 0) return tmac_ok();
    size_t slack = bytes >= HUGE_PAGE ? HUGE_PAGE : 0, mapped;
    if (!tmac_size_add(bytes, slack + 4095, &mapped))
        return tmac_fail(TMAC_OUT_OF_MEMORY, "cannot allocate %zu bytes", bytes);
    mapped &= ~(size_t)4095;
    void *mapping = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "cannot allocate %.1f MB", (double)bytes / 1e6);
    pages->mapping = mapping;
    pages->mapped = mapped;
    pages->data = mapping;
    pages->bytes = bytes;
    if (slack) {
        uintptr_t start = (uintptr_t)mapping;
        pages->data = (char *)mapping + (tmac_round_up(start, HUGE_PAGE) - start);
        madvise(pages->data, bytes,
                MADV_HUGEPAGE); // a wish: without huge pages everything still works
    }
    return tmac_ok();
}

void tmac_pages_unmap(tmac_pages *pages)
{
    if (pages->mapping) munmap(pages->mapping, pages->mapped);
    memset(pages, 0, sizeof *pages);
}

tmac_status tmac_arena_new(size_t bytes, tmac_arena *arena)
{
    arena->used = 0;
    return tmac_pages_map(bytes, &arena->pages);
}

void *tmac_arena_take(tmac_arena *arena, size_t bytes)
{
    size_t rounded = tmac_round_up(bytes, 64);
    if (rounded > arena->pages.bytes - arena->used) return NULL;
    void *piece = (char *)arena->pages.data + arena->used;
    arena->used += rounded;
    return piece;
}

void tmac_arena_free(tmac_arena *arena)
{
    tmac_pages_unmap(&arena->pages);
    arena->used = 0;
}
