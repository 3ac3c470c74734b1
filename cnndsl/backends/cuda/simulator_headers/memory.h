// Memory of arguments and of blocks, between pages that nobody may touch.
#pragma once

namespace simulator {

// Bytes between pages that nobody may touch, and canaries up to those pages.
struct Region {
    char *mapping, *start;
    size_t mapped, size, head, tail;
    char *original;  // what is copied in, and back after a good launch; null: shared memory
};

// Those of arguments come first, and behind them those that only tables lead to.
static Region regions[1 + MOST_ARRAYS];               // the first is the dynamic shared memory
static int region_count, near_regions;                // and how many of them arguments are in
static int argument_count, array_count;               // arrays of tables stand behind arguments
static long long arguments[MOST_ARRAYS];              // as the kernel gets them
static const long long *argument_sizes;
static int argument_regions[MOST_ARRAYS];             // -1: an integer
static const int (*table_entries)[2];                 // the table of an array, and where in it
static unsigned char canary[PAGE + 2] __attribute__((aligned(2)));

inline size_t rounded(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

// Memory for so many bytes: its end is at the end of a page, or its start at the start of one.
static void reserve(Region &region, size_t size, char *original, bool at_start) {
    size_t inside = rounded(size, PAGE), mapped = GUARD + inside + GUARD;
    void *mapping = mmap(nullptr, mapped, PROT_NONE, UNTOUCHED, -1, 0);
    if (mapping == MAP_FAILED) fault("there is no memory for %zu bytes", size);
    region.mapping = (char *)mapping, region.mapped = mapped;
    ++region_count;
    char *first = region.mapping + GUARD;
    if (inside && mprotect(first, inside, PROT_READ | PROT_WRITE))
        fault("there is no memory for %zu bytes", size);
    region.head = at_start ? 0 : inside - rounded(size, 16);
    region.tail = inside - size - region.head;
    region.start = first + region.head, region.size = size, region.original = original;
    memcpy(first, canary, region.head);
    memcpy(region.start + size, canary + size % 2, region.tail);
    if (original) memcpy(region.start, original, size);
}

// One region for every group of arguments, and of arrays of tables, whose bytes overlap.
static void place(const long long *values, const long long *sizes, bool at_start) {
    argument_sizes = sizes;
    static int order[MOST_ARRAYS];
    int pointers = 0;
    for (int i = 0; i < array_count; ++i) {
        arguments[i] = values[i], argument_regions[i] = -1;
        if (sizes[i] < 0) continue;
        int at = pointers++;
        for (; at > 0 && values[order[at - 1]] > values[i]; --at) order[at] = order[at - 1];
        order[at] = i;
    }
    for (int turn = 0; turn < 2; ++turn) {
        for (int i = 0, stop; i < pointers; i = stop) {
            long long start = values[order[i]], end = start;
            bool of_arguments = false;
            for (stop = i; stop == i || (stop < pointers && values[order[stop]] < end); ++stop) {
                long long last = values[order[stop]] + sizes[order[stop]];
                end = end < last ? last : end;
                of_arguments |= order[stop] < argument_count;
            }
            if (of_arguments == turn) continue;
            Region &region = regions[region_count];
            reserve(region, end - start, (char *)start, at_start);
            for (int k = i; k < stop; ++k) {
                arguments[order[k]] = (long long)region.start + (values[order[k]] - start);
                argument_regions[order[k]] = &region - regions;
            }
        }
        if (!turn) near_regions = region_count;
    }
    for (int i = argument_count; i < array_count; ++i) {
        const int *entry = table_entries[i - argument_count];
        ((long long *)arguments[entry[0]])[entry[1]] = arguments[i];
    }
}

// End the launch because of an address near a region, and say whose it is.
__attribute__((noreturn))
static void outside(const char *access, const Region &region, char *address) {
    char owner[48] = "the dynamic shared memory";
    long long start = (long long)region.start, size = region.size, at = (long long)address;
    bool behind = at >= start;
    for (int i = 0, best = -1; i < array_count; ++i) {
        if (argument_regions[i] != &region - regions) continue;
        // Of arguments that share the region, the one with the nearest bound.
        bool nearer =
            behind ? arguments[i] + argument_sizes[i] > start + size : arguments[i] < start;
        if (best >= 0 && !nearer) continue;
        best = i, start = arguments[i], size = argument_sizes[i];
        if (i < argument_count) {
            snprintf(owner, sizeof owner, "argument %d", i);
        } else {
            const int *entry = table_entries[i - argument_count];
            snprintf(owner, sizeof owner, "array %d of argument %d", entry[1], entry[0]);
        }
    }
    long long off = behind ? at - (start + size) + 1 : start - at;
    fault("%s byte %lld of %s, which has %lld bytes: %lld byte%s %s", access, at - start, owner,
          size, off, off == 1 ? "" : "s", behind ? "behind its end" : "before its start");
}

// See whether so many bytes on both sides of the first regions are as they were.
static void check_canaries(int count, size_t length) {
    for (int i = 0; i < count; ++i) {
        Region &region = regions[i];
        char *end = region.start + region.size;
        size_t head = region.head < length ? region.head : length;
        size_t tail = region.tail < length ? region.tail : length;
        char *before = region.start - head;
        const unsigned char *expected = canary + region.size % 2;
        if (head && memcmp(before, canary, head))
            for (size_t k = head; k-- > 0;)
                if ((unsigned char)before[k] != canary[k]) outside("writes", region, before + k);
        if (tail && memcmp(end, expected, tail))
            for (size_t k = 0; k < tail; ++k)
                if ((unsigned char)end[k] != expected[k]) outside("writes", region, end + k);
    }
}

// `__shared__` variables are this shared object's variables of a thread: a section with a name
// would not hold those of templates. Where they lie; the first is there so that there is one.
static __thread char first_shared __attribute__((used));
static char *fixed_shared;
static size_t fixed_shared_size;

static int find_fixed_shared(dl_phdr_info *object, size_t, void *) {
    bool own = false;
    const ElfW(Phdr) *variables = nullptr;
    for (int i = 0; i < object->dlpi_phnum; ++i) {
        const ElfW(Phdr) &part = object->dlpi_phdr[i];
        size_t offset = (size_t)&fixed_shared - (object->dlpi_addr + part.p_vaddr);
        own |= part.p_type == PT_LOAD && offset < part.p_memsz;
        if (part.p_type == PT_TLS) variables = &part;
    }
    if (!own) return 0;
    fixed_shared = (char *)object->dlpi_tls_data, fixed_shared_size = variables->p_memsz;
    return 1;
}

}  // namespace simulator
