// Signals: what a processor traps becomes a sentence.
#pragma once

namespace simulator {

const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};
const int SIGNAL_COUNT = sizeof SIGNALS / sizeof *SIGNALS;

static struct sigaction former_actions[SIGNAL_COUNT];
static stack_t former_stack;
static pthread_t launching_thread;

// The fibers' stacks, each above a guard page, and the signals' above them. The loader unifies this
// over the shared objects of a process (a "unique" symbol): all kernels use the same stacks.
struct Stacks {
    char *memory;
    unsigned usable;
    static const size_t FIBERS = MOST_THREADS * (PAGE + STACK) + PAGE;
    char *signals() { return memory + FIBERS; }
    char *fiber(unsigned i) { return memory + i * (PAGE + STACK) + PAGE; }
    bool holds(const char *address) { return memory <= address && address < signals(); }
    bool reserve() {
        if (memory) return true;
        size_t length = FIBERS + SIGNAL_STACK;
        void *mapping = mmap(nullptr, length, PROT_NONE, UNTOUCHED, -1, 0);
        if (mapping == MAP_FAILED) return false;
        if (mprotect((char *)mapping + FIBERS, SIGNAL_STACK, PROT_READ | PROT_WRITE)) {
            munmap(mapping, length);
            return false;
        }
        memory = (char *)mapping;
        return true;
    }
    bool reserve(unsigned count) {
        for (; usable < count; ++usable)
            if (mprotect(fiber(usable), STACK, PROT_READ | PROT_WRITE)) return false;
        return true;
    }
};
__attribute__((visibility("default"))) inline Stacks stacks;

static void restore_signals() {
    for (int i = 0; i < SIGNAL_COUNT; ++i) sigaction(SIGNALS[i], &former_actions[i], nullptr);
    sigaltstack(&former_stack, nullptr);
}

static void on_signal(int signal, siginfo_t *information, void *context) {
    if (!pthread_equal(pthread_self(), launching_thread)) {
        // Not the simulator's: it happens again, and the former action sees it.
        for (int i = 0; i < SIGNAL_COUNT; ++i) sigaction(SIGNALS[i], &former_actions[i], nullptr);
        return;
    }
    if (signal == SIGFPE) fault("divides an integer by zero");
    if (signal == SIGILL || signal == SIGTRAP)
        fault("misaligned access or an index outside an array");
    char *address = (char *)information->si_addr;
    if (stacks.holds(address))
        fault("needs more than %zu bytes for its local variables", STACK);
    bool writes = ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;
    for (int i = 0; i < region_count; ++i)
        if (regions[i].mapping <= address && address < regions[i].mapping + regions[i].mapped)
            outside(writes ? "writes" : "reads", regions[i], address);
    fault("%s address %p; no argument is near", writes ? "writes" : "reads", (void *)address);
}

static void catch_signals() {
    stack_t own = {};
    own.ss_sp = stacks.signals(), own.ss_size = SIGNAL_STACK;
    sigaltstack(&own, &former_stack);
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < SIGNAL_COUNT; ++i) sigaction(SIGNALS[i], &action, &former_actions[i]);
}

}  // namespace simulator
