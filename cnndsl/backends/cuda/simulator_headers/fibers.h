// Fibers: the threads of a block take turns, and wait for each other.
#pragma once

#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace simulator {

const unsigned MOST_THREADS = 1024;            // of a block
const long long MOST_SHARED = 227 * 1024;      // bytes of a block's dynamic shared memory
const int MOST_ARGUMENTS = 24;                 // of a kernel
const int MOST_ARRAYS = 8192;                  // those, and arrays whose addresses are in tables
const size_t PAGE = 4096;
const int UNTOUCHED = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
const size_t STACK = 64 * 1024;                // of a fiber
const size_t SIGNAL_STACK = 64 * 1024;
const size_t GUARD = 1024 * 1024;              // bytes out of bounds on each side of an argument
const unsigned char UNWRITTEN = 0xFF;          // in every byte: NaN in every format
const unsigned char CANARY[2] = {0xE5, 0xFF};  // at even and at odd addresses: NaN too
const size_t NEAR = 16;                        // bytes of a canary looked at after every turn

enum State { READY, AT_BARRIER, IN_WARP_OPERATION, ENDED };
enum Operation { SYNC, SHUFFLE, VOTE };

struct Fiber {
    void *stack_pointer;
    uint3 thread;
    State state;
    int line;             // of the kernel's text, where it waits
    Operation operation;  // which it takes part in, and with what
    unsigned mask;
    int source;
    unsigned long long value;  // what it brings; afterwards, what it gets
};

static Fiber fibers[MOST_THREADS];
static Fiber *current;  // null outside of a turn
static unsigned threads, ended;
static unsigned turns[MOST_THREADS], next_turns[MOST_THREADS], next_count;
static void *scheduler_stack_pointer;

static dim3 grid, block;
static uint3 block_index;
static bool in_block;
static char *dynamic_shared;

static unsigned arrived, arrived_true, barrier_result;  // at the barrier
static int barrier_line;

static sigjmp_buf launch_context;
static char *message;
static size_t message_length;

// End the launch with a sentence about the thread whose turn it is.
__attribute__((noreturn, noinline, format(printf, 1, 2)))
static void fault(const char *format, ...) {
    int length = 0;
    if (in_block)
        length += snprintf(message, message_length, "block %u,%u,%u", block_index.x, block_index.y,
                           block_index.z);
    if (in_block && current)
        length += snprintf(message + length, message_length - length, ", thread %u,%u,%u",
                           current->thread.x, current->thread.y, current->thread.z);
    if (in_block) length += snprintf(message + length, message_length - length, ": ");
    va_list values;
    va_start(values, format);
    vsnprintf(message + length, message_length - length, format, values);
    va_end(values);
    siglongjmp(launch_context, 1);
}

// What a fiber does, for a message.
struct Whereabouts {
    char text[160];
    explicit Whereabouts(const Fiber &fiber) {
        uint3 t = fiber.thread;
        int length = snprintf(text, sizeof text, "thread %u,%u,%u ", t.x, t.y, t.z);
        char *rest = text + length;
        size_t room = sizeof text - length;
        if (fiber.state == AT_BARRIER)
            snprintf(rest, room, "waits at the barrier in line %d", fiber.line);
        else if (fiber.state == IN_WARP_OPERATION)
            snprintf(rest, room, "waits in the warp operation in line %d with the mask 0x%08x",
                     fiber.line, fiber.mask);
        else
            snprintf(rest, room, fiber.state == ENDED ? "has ended" : "goes on");
    }
};

// Keep what a function has to keep, leave its stack, and go on with another.
__attribute__((naked, noipa)) static void switch_stacks(void **, void *) {
    asm("pushq %rbp\n\t"
        "pushq %rbx\n\t"
        "pushq %r12\n\t"
        "pushq %r13\n\t"
        "pushq %r14\n\t"
        "pushq %r15\n\t"
        "movq %rsp, (%rdi)\n\t"
        "movq %rsi, %rsp\n\t"
        "popq %r15\n\t"
        "popq %r14\n\t"
        "popq %r13\n\t"
        "popq %r12\n\t"
        "popq %rbx\n\t"
        "popq %rbp\n\t"
        "ret");
}

// End this fiber's turn; returns when another has woken it.
__attribute__((noinline)) static void wait(State state, int line) {
    current->state = state;
    current->line = line;
    switch_stacks(&current->stack_pointer, scheduler_stack_pointer);
}

static void wake(Fiber &fiber) {
    fiber.state = READY;
    next_turns[next_count++] = &fiber - fibers;
}

// Wait for all threads of the block; how many of them said true.
__attribute__((noinline)) static unsigned barrier(bool said, int line) {
    for (unsigned i = 0; ended && i < threads; ++i)
        if (fibers[i].state == ENDED)
            fault("waits at the barrier in line %d, but %s", line, Whereabouts(fibers[i]).text);
    if (arrived && line != barrier_line)
        fault("waits at the barrier in line %d, others at the one in line %d", line, barrier_line);
    barrier_line = line;
    arrived_true += said;
    if (++arrived < threads) {
        wait(AT_BARRIER, line);
    } else {
        barrier_result = arrived_true;
        arrived = arrived_true = 0;
        for (unsigned i = 0; i < threads; ++i)
            if (&fibers[i] != current) wake(fibers[i]);
    }
    return barrier_result;
}

inline unsigned number() { return current - fibers; }
inline unsigned lane() { return number() % 32; }

// The lanes that this warp has: all but in the last warp of an odd block.
inline unsigned lanes() {
    unsigned rest = threads - (number() - lane());
    return rest < 32 ? (1u << rest) - 1 : ~0u;
}

inline bool together(const Fiber &one, const Fiber &other) {
    return other.state == IN_WARP_OPERATION && other.operation == one.operation &&
           other.mask == one.mask;
}

// Wait for the lanes of the mask. A shuffle gives the source's value, and bytes that make a NaN
// where the source is not in the mask; a vote gives the lanes whose value is not zero.
__attribute__((noinline)) static unsigned long long meet(Operation operation, unsigned mask,
                                                         unsigned long long value, int source,
                                                         int line) {
    Fiber &own = *current, *warp = &own - lane();
    if (!(mask >> lane() & 1))
        fault("lane %u is not in its own mask 0x%08x in line %d", lane(), mask, line);
    mask &= lanes();
    own.operation = operation, own.mask = mask, own.value = value, own.source = source;
    own.state = IN_WARP_OPERATION, own.line = line;
    bool complete = true;
    for (unsigned left = mask; left; left &= left - 1) {
        Fiber &other = warp[__builtin_ctz(left)];
        if (other.state == ENDED)
            fault("waits in the warp operation in line %d with the mask 0x%08x, but %s", line, mask,
                  Whereabouts(other).text);
        if (!together(own, other)) {
            complete = false;
            break;
        }
    }
    if (!complete) {
        wait(IN_WARP_OPERATION, line);
        return own.value;
    }
    unsigned long long values[32], votes = 0;
    for (unsigned left = mask; left; left &= left - 1) {
        int i = __builtin_ctz(left);
        values[i] = warp[i].value;
        votes |= (unsigned long long)(warp[i].value != 0) << i;
    }
    for (unsigned left = mask; left; left &= left - 1) {
        Fiber &other = warp[__builtin_ctz(left)];
        if (operation == SHUFFLE)
            other.value = mask >> other.source & 1 ? values[other.source] : ~0ull;
        else
            other.value = votes;
        if (&other != &own) wake(other);
    }
    own.state = READY;
    return own.value;
}

template <class T>
T shuffle(unsigned mask, T value, int source, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = meet(SHUFFLE, mask, bits, source, line);
    memcpy((void *)&value, &bits, sizeof value);
    return value;
}

// The first lane of this lane's group of so many.
inline int first(int width, int line) {
    if (width < 1 || width > 32 || width & (width - 1))
        fault("a shuffle of the width %d in line %d", width, line);
    return lane() & -width;
}

// No fiber can go on: say of one what it waits for.
__attribute__((noreturn)) static void deadlock() {
    Fiber *other = fibers;
    for (current = fibers; current->state == ENDED;) ++current;
    if (current->state == AT_BARRIER) {
        while (other->state == AT_BARRIER) ++other;
    } else {
        other = current - lane();
        while (!(current->mask >> (other - fibers) % 32 & 1) || together(*current, *other)) ++other;
    }
    fault("waits for ever: %s, %s", Whereabouts(*current).text, Whereabouts(*other).text);
}

}  // namespace simulator
