// Runs CUDA kernels on one thread of an x86-64 processor: every thread of a block is a fiber.
//
// A kernel's text includes this in place of CUDA's headers. The fibers of a block take turns, in an
// order shuffled by a seed, each until it waits (at a barrier, in a warp operation) or ends. So a
// missing barrier shows as results that differ between seeds, and a mistake that a device forgives
// or hangs on (a barrier that threads miss, a wrong mask, a misaligned access, memory overrun) ends
// the launch with a sentence. Only kernels, `cnndsl_simulate` and the stacks are seen outside of
// the shared object that a text becomes; only the stacks outlive a launch.
#pragma once

#include "fibers.h"
#include "memory.h"
#include "signals.h"
#include "launch.h"
#include "language.h"
#include "numbers.h"
