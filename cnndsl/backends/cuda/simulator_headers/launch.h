// Launches: every thread of every block, in an order that a seed shuffles.
#pragma once

namespace simulator {

static unsigned long long random_state;

// A number below another (splitmix64).
static unsigned below(unsigned bound) {
    unsigned long long z = random_state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return (z >> 32) * bound >> 32;
}

static void mix(unsigned *numbers, unsigned count) {
    for (unsigned i = count; i > 1; --i) {
        unsigned j = below(i), kept = numbers[i - 1];
        numbers[i - 1] = numbers[j], numbers[j] = kept;
    }
}

using L = long long;
using Kernel = void (*)(L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L);

static Kernel kernel;
static unsigned *block_order;

// What a fiber does from its first to its last turn. A kernel leaves surplus arguments alone.
static void live() {
    const L *a = arguments;
    kernel(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13],
           a[14], a[15], a[16], a[17], a[18], a[19], a[20], a[21], a[22], a[23]);
    ++ended;
    if (arrived) {
        Fiber *waiting = fibers;
        while (waiting->state != AT_BARRIER) ++waiting;
        fault("ends, but %s", Whereabouts(*waiting).text);
    }
    wait(ENDED, 0);
}

static void run_block() {
    ended = arrived = arrived_true = next_count = 0;
    memset(fixed_shared, UNWRITTEN, fixed_shared_size);
    memset(dynamic_shared, UNWRITTEN, regions[0].size);
    for (unsigned i = 0; i < threads; ++i) {
        // The tops of the stacks lie on different lines of the cache.
        void **top = (void **)(stacks.fiber(i) + STACK - i % 32 * 64);
        top[-2] = (void *)live;
        fibers[i].stack_pointer = top - 8;
        fibers[i].thread = {i % block.x, i / block.x % block.y, i / block.x / block.y};
        wake(fibers[i]);
    }
    while (ended < threads) {
        unsigned count = next_count;
        if (!count) deadlock();
        memcpy(turns, next_turns, count * sizeof *turns);
        next_count = 0;
        mix(turns, count);
        for (unsigned i = 0; i < count; ++i) {
            current = &fibers[turns[i]];
            switch_stacks(&scheduler_stack_pointer, current->stack_pointer);
            check_canaries(near_regions, NEAR);
        }
    }
    current = nullptr;
    check_canaries(region_count, PAGE);
}

static void launch(unsigned long long shared) {
    unsigned long long blocks = (unsigned long long)grid.x * grid.y * grid.z;
    if (!blocks || grid.x > 0x7FFFFFFF || grid.y > 0xFFFF || grid.z > 0xFFFF || blocks >> 31)
        fault("a grid of %u,%u,%u blocks cannot be launched", grid.x, grid.y, grid.z);
    unsigned long long wanted = (unsigned long long)block.x * block.y * block.z;
    if (!wanted || wanted > MOST_THREADS || block.x > MOST_THREADS || block.y > MOST_THREADS ||
        block.z > 64)
        fault("a block of %u,%u,%u threads cannot be launched", block.x, block.y, block.z);
    if (shared > MOST_SHARED)
        fault("%llu bytes of shared memory are more than the %lld of a block", shared, MOST_SHARED);
    threads = wanted;
    first_shared = 0;  // they are made when one is used
    dl_iterate_phdr(find_fixed_shared, nullptr);
    if (!stacks.reserve(threads)) fault("there is no memory for %u stacks", threads);
    block_order = (unsigned *)malloc(blocks * sizeof *block_order);
    if (!block_order) fault("there is no memory for %llu blocks", blocks);
    for (unsigned i = 0; i < blocks; ++i) block_order[i] = i;
    mix(block_order, blocks);
    for (unsigned i = 0; i < blocks; ++i) {
        unsigned b = block_order[i];
        block_index = {b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y};
        in_block = true;
        run_block();
    }
}

}  // namespace simulator

// Run a kernel of this text for every thread of the grid.
//
// `arguments` are `count` addresses and integers; `sizes` says how many bytes lie at an address,
// and -1 of an integer. Behind them are `more` addresses, which `entries` gives to tables: which
// argument, and where in it. The kernel works on copies, of which those that overlap share one; they
// are copied back after a good launch only. With an even `seed` a copy ends where a page ends, with
// an odd one it starts where a page starts. Returns 0 after a good launch, and otherwise 1, with a
// sentence in `message`. Two launches at the same time are not possible.
extern "C" __attribute__((visibility("default"))) int cnndsl_simulate(
    void *function, const unsigned grid[3], const unsigned block[3], long long shared, int count,
    int more, const long long *arguments, const long long *sizes, const int (*entries)[2],
    unsigned long long seed, char *message, int message_length) {
    namespace s = simulator;
    s::kernel = (s::Kernel)function;
    s::grid = dim3(grid[0], grid[1], grid[2]), s::block = dim3(block[0], block[1], block[2]);
    s::message = message, s::message_length = message_length;
    s::random_state = seed;
    s::current = nullptr, s::in_block = false, s::block_order = nullptr;
    s::region_count = 0;
    s::argument_count = count, s::array_count = count + more, s::table_entries = entries;
    for (size_t i = 0; i < sizeof s::canary; ++i) s::canary[i] = s::CANARY[i % 2];
    if (!s::stacks.reserve()) {
        snprintf(message, message_length, "there is no memory for stacks");
        return 1;
    }
    s::launching_thread = pthread_self();
    s::catch_signals();
    volatile int failed = 1;
    if (!sigsetjmp(s::launch_context, 1)) {
        if (count > s::MOST_ARGUMENTS)
            s::fault("%d arguments are more than %d", count, s::MOST_ARGUMENTS);
        if (count + more > s::MOST_ARRAYS)
            s::fault("%d arrays are more than %d", count + more, s::MOST_ARRAYS);
        s::reserve(s::regions[0], shared < 0 ? 0 : shared, nullptr, seed % 2);
        s::dynamic_shared = s::regions[0].start;
        s::place(arguments, sizes, seed % 2);
        s::launch(shared);
        failed = 0;
    }
    s::restore_signals();
    for (int i = 0; i < s::region_count; ++i) {
        s::Region &region = s::regions[i];
        if (!failed && region.original && memcmp(region.original, region.start, region.size))
            memcpy(region.original, region.start, region.size);
        munmap(region.mapping, region.mapped);
    }
    free(s::block_order);
    return failed;
}
