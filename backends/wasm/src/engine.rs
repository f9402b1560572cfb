//! The engine: how modules are compiled, and where their memory comes from.

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::{Options, budget::Shape};

/// What a 32-bit memory can have at most; reserved for each, so that no access needs a comparison.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// The stack of a guest. One that needs more fails.
pub(crate) const STACK_BYTES: usize = 512 * 1024;
/// That, and what the host's functions need on the same stack.
const STACK_BYTES_WITH_HOST: usize = 1024 * 1024;
/// How much of a slot is cleared by hand and kept, instead of being given back to the kernel.
const MEMORY_KEPT_BYTES: usize = 64 * 1024;
const STACK_KEPT_BYTES: usize = 16 * 1024;
const TABLE_KEPT_BYTES: usize = 16 * 1024;
/// How many slots are kept for the module that had them last.
const SLOTS_KEPT_MAX: u32 = 16;
/// Frames of a trap's backtrace.
const FRAMES_MAX: usize = 50;
/// Core instances inside of one component, and tables per slot.
const PARTS_PER_SLOT: u32 = 8;

/// What one store may have.
pub(crate) const SHAPE: Shape = Shape {
    instances: 2 * PARTS_PER_SLOT as usize,
    memories: 4,
    tables: PARTS_PER_SLOT as usize,
};

/// Makes the engine, and reserves the address space of its slots.
pub(crate) fn engine(options: &Options) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)))
        .memory_reservation(MEMORY_BYTES_MAX)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(STACK_BYTES_WITH_HOST)
        // What a guest left on its stack is no business of the next one, and no memory of the server's.
        .async_stack_zeroing(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(FRAMES_MAX))
        // A 64-bit memory has more than a slot holds.
        .wasm_memory64(false);
    Engine::new(&config)
}

fn pool(options: &Options) -> PoolingAllocationConfig {
    let slots = options.slots_max.max(1);
    let limits = &options.module_limits;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots * PARTS_PER_SLOT)
        .total_component_instances(slots)
        .total_memories(slots)
        .total_tables(slots * PARTS_PER_SLOT)
        .total_stacks(slots)
        .max_core_instances_per_component(2 * PARTS_PER_SLOT)
        .max_memories_per_component(limits.memories)
        .max_tables_per_component(PARTS_PER_SLOT)
        .max_memories_per_module(limits.memories)
        .max_tables_per_module(limits.tables)
        .table_elements(usize::try_from(limits.table_entries).unwrap_or(usize::MAX))
        .max_memory_size(usize::try_from(MEMORY_BYTES_MAX).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(MEMORY_KEPT_BYTES)
        .table_keep_resident(TABLE_KEPT_BYTES)
        .async_stack_keep_resident(STACK_KEPT_BYTES)
        .max_unused_warm_slots(SLOTS_KEPT_MAX.min(slots))
        .decommit_batch_size(1)
        .pagemap_scan(Enabled::Auto);
    pool
}
